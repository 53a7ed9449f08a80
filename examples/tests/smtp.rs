//! Tests the program `smtp`: in virtual time, then once with Python's smtplib over real sockets.

mod certificates;
// `main` is not called here.
#[allow(dead_code)]
#[path = "../smtp/main.rs"]
mod smtp;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::endpoints::TcpClientEndpoint;
use ropewalk::testing::{AccumulatingProtocol, Faults, MemoryReactor, TestStream};
use ropewalk::tls::{Authorities, ClientOptions, ServerOptions, TlsClient, TlsServer, Version};
use ropewalk::{Deferred, Failure, Transport};

use certificates::Authority;
use smtp::mail::Mail;
use smtp::{client, server};

const SECOND: Duration = Duration::from_secs(1);
const SERVER: &str = "10.0.0.2:25";
const NAME: &str = "mail.test";

type Delivered = Rc<RefCell<Vec<(Mail, Option<Version>)>>>;

/// A server on a simulated network.
struct World {
    net: MemoryReactor,
    authority: Authority,
    delivered: Delivered,
}

impl World {
    fn new(requires_tls: bool) -> World {
        World::on(MemoryReactor::new(), requires_tls)
    }

    fn on(net: MemoryReactor, requires_tls: bool) -> World {
        let (authority, delivered) = (Authority::new(), Delivered::default());
        let identity = authority.issue(NAME).identity();
        let keep = delivered.clone();
        let options = server::Options {
            name: NAME.to_owned(),
            tls: TlsServer::new(ServerOptions::new().identity(identity)).unwrap(),
            requires_tls,
            message_bytes_max: 1000,
            recipients_max: 3,
            deliver: Box::new(move |mail, version| keep.borrow_mut().push((mail, version))),
        };
        net.listen_tcp(SERVER, server::sessions(options)).unwrap();
        World { net, authority, delivered }
    }

    /// Connects in clear, and says a line.
    fn say(&self, text: &str) -> (TestStream, String) {
        let client = self.net.connect_stream(SERVER);
        let reply = self.ask(&client, text);
        (client, reply)
    }

    /// Returns the replies to `text`.
    fn ask(&self, client: &TestStream, text: &str) -> String {
        client.write(text);
        self.net.settle();
        String::from_utf8_lossy(&client.take_received()).into_owned()
    }

    fn send(&self, mail: Mail) -> Outcome {
        send(&self.net, self.authority.trusted(), NAME, mail)
    }
}

type Outcome = Deferred<Result<(), Failure>>;

fn tls(trusted: Authorities) -> TlsClient {
    TlsClient::new(ClientOptions::new().authorities(trusted)).unwrap()
}

fn send(net: &MemoryReactor, trusted: Authorities, name: &str, mail: Mail) -> Outcome {
    let (reactor, tls, name) = ((**net).clone(), tls(trusted), name.to_owned());
    net.spawn(async move { client::send(&reactor, &TcpClientEndpoint::new(SERVER).unwrap(), &name, &tls, mail).await })
}

/// Returns the outcome in words, once it is there.
fn outcome(sending: Outcome) -> String {
    match sending.try_result().expect("it is over").expect("no panic") {
        Ok(()) => "sent".to_owned(),
        Err(failure) => failure.error().to_string(),
    }
}

fn mail(text: &str) -> Mail {
    Mail::new("ada@example.org", &["bob@example.org".to_owned(), "eve@example.org".to_owned()], text.as_bytes())
        .unwrap()
}

/// A client of the test that starts TLS by itself.
struct Protected {
    connection: AccumulatingProtocol,
    transport: Transport,
}

impl Protected {
    /// Says `first` in clear, and reads the replies.
    fn begin(world: &World, first: &str) -> Protected {
        let connection = AccumulatingProtocol::new();
        world.net.connect_tcp(SERVER, connection.factory()).unwrap();
        world.net.settle();
        let transport = connection.transport().expect("it is connected");
        transport.write(first.as_bytes());
        world.net.settle();
        Protected { connection, transport }
    }

    fn start_tls(&self, world: &World) {
        self.transport.start_tls(tls(world.authority.trusted()).layer(NAME).unwrap()).unwrap();
        world.net.settle();
    }

    /// Returns the replies to `text`.
    fn ask(&self, world: &World, text: &str) -> String {
        let before = self.connection.data().len();
        self.transport.write(text.as_bytes());
        world.net.settle();
        String::from_utf8(self.connection.data()[before..].to_vec()).unwrap()
    }
}

#[test]
fn a_mail_arrives_over_tls_unchanged() {
    let world = World::new(true);
    let text = "Subject: ropes\n\n.a line with a dot\n..\n.\nthe end";
    let sending = world.send(mail(text));
    world.net.settle();
    assert_eq!(outcome(sending), "sent");
    let expected = Mail { text: format!("{text}\n").replace('\n', "\r\n").into_bytes(), ..mail("") };
    assert_eq!(*world.delivered.borrow(), [(expected, Some(Version::Tls13))]);
    assert_eq!(world.net.open_sources(), 1, "the port is left");
}

#[test]
fn a_mail_survives_every_way_to_cut_the_stream() {
    for seed in 0..50 {
        let faults = Faults::none().short_reads().short_writes().jitter(SECOND / 10);
        let world = World::on(MemoryReactor::seeded(seed).with_faults(faults), true);
        let sending = world.send(mail(".\nto be or not\n"));
        world.net.advance(200 * SECOND);
        assert_eq!(outcome(sending), "sent", "seed {seed}");
        assert_eq!(world.delivered.borrow().len(), 1, "seed {seed}");
    }
}

#[test]
fn mail_before_starttls_is_refused_if_asked_to() {
    // RFC 3207, section 4: all commands but NOOP, EHLO, STARTTLS and QUIT.
    let world = World::new(true);
    let (client, _) = world.say("EHLO me\r\n");
    for command in ["MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA", "RSET", "VRFY a"] {
        assert_eq!(world.ask(&client, &format!("{command}\r\n")), "530 STARTTLS must come first\r\n", "{command}");
    }
    assert_eq!(world.ask(&client, "NOOP\r\nQUIT\r\n"), "250 ok\r\n221 goodbye\r\n");
    assert!(client.is_eof());
}

#[test]
fn mail_in_clear_is_accepted_otherwise() {
    let world = World::new(false);
    let commands = "EHLO me\r\nMAIL FROM:<> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<bob@b>\r\nDATA\r\n..hi\r\n.\r\n";
    let (_client, replies) = world.say(commands);
    assert!(replies.ends_with("250 ok\r\n250 ok\r\n354 send the text, and a line with a dot\r\n250 delivered\r\n"));
    let expected = Mail { sender: String::new(), recipients: vec!["bob@b".to_owned()], text: b".hi\r\n".to_vec() };
    assert_eq!(*world.delivered.borrow(), [(expected, None)]);
}

#[test]
fn commands_in_the_packet_of_starttls_are_not_read() {
    // The attack on STARTTLS of 2011: CVE-2011-0411. An attacker adds the second command.
    let world = World::new(false);
    let (client, replies) = world.say("EHLO me\r\nSTARTTLS\r\nNOOP\r\n");
    assert!(replies.contains("220 begin the handshake\r\n") && !replies.contains("250 ok"), "{replies}");
    assert!(client.is_eof() || client.is_reset(), "the handshake has failed");
}

#[test]
fn half_a_command_before_tls_is_not_completed_after_it() {
    let world = World::new(false);
    let (client, replies) = world.say("STARTTLS\r\nNO");
    let replies = replies + &world.ask(&client, "OP\r\n");
    assert!(replies.contains("220 begin the handshake\r\n") && !replies.contains("250 ok"), "{replies}");
    assert!(client.is_eof() || client.is_reset(), "the handshake has failed");
}

#[test]
fn replies_in_the_packet_of_the_220_are_not_read() {
    let world = World::new(false);
    let listener = world.net.listen_stream("10.0.0.3:25").unwrap();
    let (reactor, tls) = ((*world.net).clone(), tls(world.authority.trusted()));
    let sending = world.net.spawn(async move {
        client::send(&reactor, &TcpClientEndpoint::new("10.0.0.3:25").unwrap(), NAME, &tls, mail("secret")).await
    });
    world.net.settle();
    let attacker = listener.accept().unwrap();
    for replies in ["220 hello\r\n", "250-me\r\n250 STARTTLS\r\n", "220 begin\r\n250 me\r\n250 ok\r\n"] {
        attacker.write(replies);
        world.net.settle();
    }
    let error = outcome(sending);
    assert!(error.contains("layer \"tls\""), "the replies are not a handshake: {error}");
    assert!(!String::from_utf8_lossy(&attacker.received()).contains("MAIL"));
}

#[test]
fn a_server_without_starttls_gets_no_mail() {
    let world = World::new(false);
    let listener = world.net.listen_stream("10.0.0.3:25").unwrap();
    let (reactor, tls) = ((*world.net).clone(), tls(world.authority.trusted()));
    let sending = world.net.spawn(async move {
        client::send(&reactor, &TcpClientEndpoint::new("10.0.0.3:25").unwrap(), NAME, &tls, mail("secret")).await
    });
    world.net.settle();
    let server = listener.accept().unwrap();
    server.write(b"220 hello\r\n");
    world.net.settle();
    server.write(b"250-me\r\n250 SIZE 9\r\n");
    world.net.settle();
    assert_eq!(outcome(sending), "the server does not offer STARTTLS, so the mail was not sent");
    let received = String::from_utf8(server.received()).unwrap();
    assert!(received.starts_with("EHLO [") && received.lines().count() == 1, "{received}");
}

#[test]
fn starttls_makes_the_server_forget_the_client() {
    // RFC 3207, section 4.2.
    let world = World::new(false);
    let client = Protected::begin(&world, "EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nSTARTTLS\r\n");
    client.start_tls(&world);
    assert!(client.ask(&world, "DATA\r\n").starts_with("503 "));
    assert!(client.ask(&world, "RCPT TO:<a@b>\r\n").starts_with("503 "));
    assert!(client.ask(&world, "MAIL FROM:<a@b>\r\n").starts_with("503 "), "EHLO comes first");
    assert!(!client.ask(&world, "EHLO me\r\n").contains("STARTTLS"));
    assert!(client.ask(&world, "STARTTLS\r\n").starts_with("503 "));
    assert_eq!(client.ask(&world, "MAIL FROM:<a@b>\r\nQUIT\r\n"), "250 ok\r\n221 goodbye\r\n");
}

#[test]
fn a_server_without_the_certificate_gets_no_mail() {
    let world = World::new(true);
    let sending = send(&world.net, Authority::new().trusted(), NAME, mail("secret"));
    world.net.settle();
    let error = outcome(sending);
    assert!(error.contains("the certificate of the peer is refused"), "{error}");
    let sending = send(&world.net, world.authority.trusted(), "other.test", mail("secret"));
    world.net.settle();
    let error = outcome(sending);
    assert!(error.contains("it is for mail.test, expected other.test"), "{error}");
    assert!(world.delivered.borrow().is_empty());
}

#[test]
fn a_mail_over_the_size_is_refused() {
    let world = World::new(false);
    let (client, _) = world.say("EHLO me\r\n");
    let too_large = "552 the mail is larger than SIZE says\r\n";
    assert_eq!(world.ask(&client, "MAIL FROM:<a@b> SIZE=1001\r\n"), too_large);
    world.ask(&client, "MAIL FROM:<a@b> SIZE=1000\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    assert_eq!(world.ask(&client, &format!("{}\r\n{}\r\n", "x".repeat(500), "x".repeat(497))), "");
    assert_eq!(world.ask(&client, &"y".repeat(998)), "", "the reply follows the end");
    assert_eq!(world.ask(&client, "\r\n.\r\n"), too_large);
    world.ask(&client, "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    assert_eq!(world.ask(&client, &format!("{}\r\n.\r\n", "x".repeat(998))), "250 delivered\r\n");
    assert_eq!(world.delivered.borrow().len(), 1);
}

#[test]
fn a_long_line_does_not_become_two() {
    let world = World::new(false);
    let (client, _) = world.say("EHLO me\r\n");
    assert_eq!(world.ask(&client, &format!("{}\r\n", "N".repeat(5000))), "500 the line is too long\r\n");
    assert!(world.ask(&client, &format!("NOOP {}\r\n", "x".repeat(600))).starts_with("500 expected a command"));
    world.ask(&client, "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    let reply = world.ask(&client, &format!("{}.\r\nhi\r\n.\r\n", "x".repeat(5000)));
    assert_eq!(reply, "554 a line is longer than 998 bytes\r\n");
    assert!(world.delivered.borrow().is_empty());
}

#[test]
fn a_bare_line_end_does_not_end_a_mail() {
    let world = World::new(false);
    let (client, _) = world.say("EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    let reply = world.ask(&client, "hi\n.\nMAIL FROM:<smuggled@b>\r\n.\r\n");
    assert_eq!(reply, "554 a line end is not CR LF\r\n");
    assert!(world.ask(&client, "NOOP\rNOOP\r\n").starts_with("500 "));
    assert!(world.delivered.borrow().is_empty());
}

#[test]
fn recipients_are_limited() {
    let world = World::new(true);
    let four = Vec::from(["a@b", "c@d", "e@f", "g@h"].map(str::to_owned));
    let sending = world.send(Mail::new("", &four, b"hi").unwrap());
    world.net.settle();
    assert_eq!(outcome(sending), "the server refused at Recipients(3): 452 too many recipients");
    assert!(world.delivered.borrow().is_empty());
}

#[test]
fn wrong_commands_are_refused_in_words() {
    let world = World::new(false);
    let (client, _) = world.say("");
    for (command, reply) in [
        ("MAIL FROM:<a@b>", "503 MAIL comes after EHLO, and once for each mail"),
        ("EHLO", "501 expected the name of the client"),
        ("BDAT 3", "500 no such command"),
        ("STARTTLS now", "501 STARTTLS has no argument"),
    ] {
        assert_eq!(world.ask(&client, &format!("{command}\r\n")), format!("{reply}\r\n"));
    }
    world.ask(&client, "HELO me\r\n");
    for (command, reply) in [
        ("MAIL FROM:a@b", "501 expected MAIL FROM:<address>"),
        ("MAIL FROM:<a b@c>", "501 expected MAIL FROM:<address>"),
        ("MAIL FROM:<a@b> SIZE=x", "501 expected a number after SIZE="),
        ("MAIL FROM:<a@b> SMTPUTF8", "555 no such parameter"),
        ("RCPT TO:<a@b>", "503 RCPT comes after MAIL"),
        ("mail from: <a@b>", "250 ok"),
        ("MAIL FROM:<a@b>", "503 MAIL comes after EHLO, and once for each mail"),
        ("RCPT TO:<>", "501 expected RCPT TO:<address>"),
        ("DATA", "503 DATA comes after RCPT, without an argument"),
        ("RSET", "250 forgotten"),
        ("RCPT TO:<a@b>", "503 RCPT comes after MAIL"),
    ] {
        assert_eq!(world.ask(&client, &format!("{command}\r\n")), format!("{reply}\r\n"));
    }
}

#[test]
fn a_client_with_too_many_mistakes_is_disconnected() {
    let world = World::new(false);
    let (client, replies) = world.say(&"GUESS\r\n".repeat(30));
    assert!(replies.ends_with("421 too many mistakes\r\n"), "{replies}");
    assert_eq!(replies.matches("500 ").count(), 20);
    assert!(client.is_eof());
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let world = World::new(false);
    let client = world.net.connect_stream(SERVER);
    client.pause_reading();
    for _ in 0..2000 {
        client.write(&"NOOP\r\n".repeat(100));
        world.net.settle();
    }
    assert!(!client.is_connected());
}

#[test]
fn an_idle_client_is_disconnected() {
    let world = World::new(false);
    let (client, _) = world.say("EHLO me\r\n");
    world.net.advance(299 * SECOND);
    assert!(!client.is_eof());
    world.net.advance(2 * SECOND);
    assert!(client.is_eof());
}

#[test]
fn a_silent_server_is_given_up() {
    let net = MemoryReactor::new();
    let _listener = net.listen_stream(SERVER).unwrap();
    let sending = send(&net, Authority::new().trusted(), NAME, mail("hi"));
    net.advance(299 * SECOND);
    assert!(!sending.is_done());
    net.advance(40 * SECOND);
    assert!(sending.is_done());
    assert_eq!(net.open_sources(), 0);
}

#[test]
fn addresses_cannot_carry_commands() {
    for wrong in ["a@b>\r\nDATA", "a@b\n", "ab", "a b@c", "<a@b>", "ä@b"] {
        assert!(Mail::new(wrong, &["a@b".to_owned()], b"").is_err(), "{wrong:?}");
        assert!(Mail::new("a@b", &[wrong.to_owned()], b"").is_err(), "{wrong:?}");
    }
    assert!(Mail::new("", &[], b"").is_err());
    assert!(Mail::new("", &["a@b".to_owned()], b"a\rb").is_err());
}

#[cfg(unix)]
mod real {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::path::PathBuf;
    use std::process::{Child, Command, Output, Stdio};

    use crate::certificates::Authority;

    /// Sends a mail before STARTTLS, which must be refused, and after it.
    const PYTHON: &str = r#"
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[3])
mail = "ada@example.org", ["bob@example.org"], "Subject: from Python\r\n\r\n.a dot\r\n"
with smtplib.SMTP("localhost", int(sys.argv[1]), timeout=20) as server:
    try:
        server.sendmail(*mail)
        sys.exit("mail in clear was accepted")
    except smtplib.SMTPSenderRefused as error:
        assert error.smtp_code == 530, error
    server.starttls(context=context)
    server.sendmail(*mail)
    assert not server.has_extn("starttls")
    print(server.sock.version())
"#;

    struct Server {
        process: Child,
        lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
        port: String,
        folder: PathBuf,
    }

    impl Server {
        fn start(name: &str, reactor: Option<&str>) -> Server {
            let folder = std::env::temp_dir().join(format!("ropewalk-smtp-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            let authority = Authority::new();
            let issued = authority.issue("localhost");
            fs::write(folder.join("authority.pem"), &authority.pem).unwrap();
            fs::write(folder.join("server.pem"), issued.certificate + &issued.key).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_smtp"));
            command.args(["serve", "--listen", "127.0.0.1:0", "--require-tls", "--certificate"]);
            command.arg(folder.join("server.pem")).envs(reactor.map(|name| ("ROPEWALK_REACTOR", name)));
            let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let line = lines.next().unwrap().unwrap();
            let port = line.strip_prefix("receiving mail on 127.0.0.1:").expect("a port").to_owned();
            Server { process, lines, port, folder }
        }

        fn next_lines(&mut self, count: usize) -> Vec<String> {
            self.lines.by_ref().take(count).map(Result::unwrap).collect()
        }

        fn trust(&self) -> PathBuf {
            self.folder.join("authority.pem")
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn the_client_of_python_sends_a_mail() {
        let mut server = Server::start("python", None);
        for (version, name, ours) in [("TLSv1_2", "TLSv1.2", "Tls12"), ("TLSv1_3", "TLSv1.3", "Tls13")] {
            let mut python = Command::new("python3");
            python.args(["-c", PYTHON, &server.port]).arg(server.trust()).arg(version);
            let Ok(Output { status, stdout, stderr }) = python.output() else {
                return println!("skipped: python3 is not installed");
            };
            assert!(status.success(), "{}", text(&stderr));
            assert_eq!(text(&stdout), format!("{name}\n"));
            let expected = [
                format!("from <ada@example.org> to <bob@example.org>, over {ours}:"),
                "| Subject: from Python".to_owned(),
                "| ".to_owned(),
                "| .a dot".to_owned(),
            ];
            assert_eq!(server.next_lines(4), expected);
        }
    }

    #[test]
    fn the_program_sends_a_mail_to_itself() {
        for info in ropewalk::reactors().into_iter().filter(|info| info.unavailable.is_none()) {
            let mut server = Server::start(info.name, Some(info.name));
            let mut command = Command::new(env!("CARGO_BIN_EXE_smtp"));
            command.args(["send", &format!("localhost:{}", server.port), "--from", "ada@example.org"]);
            command.args(["--to", "bob@example.org", "--trust"]).arg(server.trust()).env("ROPEWALK_REACTOR", info.name);
            let mut sender =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            sender.stdin.take().unwrap().write_all(b"hello\n").unwrap();
            let output = sender.wait_with_output().unwrap();
            assert_eq!((text(&output.stdout), text(&output.stderr)), ("sent\n".to_owned(), String::new()));
            let expected = ["from <ada@example.org> to <bob@example.org>, over Tls13:", "| hello"];
            assert_eq!(server.next_lines(2), expected, "{}", info.name);
        }
    }
}

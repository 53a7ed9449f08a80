//! Layers between the socket and the protocol, with the scrambler of this crate.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::proto::{Layer, LayerState, Outbox};
use ropewalk::protocols::paced;
use ropewalk::transports::{Producer, PushProducer};
use ropewalk::{Error, PanicPolicy, Transport};

use crate::links::{Countdown, Transports, assert_same_bytes, noise};
use crate::scrambler::{Scrambler, frame};
use crate::script::{Log, Script, reason_name, stop};
use crate::waiting::{after_some_turns, when};
use crate::{Subject, run, specifications};

const LIMIT: Duration = Duration::from_secs(10);
const HIGH: usize = 64 * 1024;
const TOO_MUCH: usize = 8_000_000;

fn start(transport: &Transport) {
    transport.start_layer(Scrambler::new(), LIMIT).expect("it has none");
}

/// A script whose connection starts the layer before anything else.
fn scrambled() -> Script {
    Script::new().on_made(start)
}

/// Adds the reason of a lost connection to `log`: its name, or the kind of the operating system's error.
fn logs_loss(log: &Log, name: &'static str) -> impl Fn(&Transport, &Error) + use<> {
    let log = log.clone();
    move |_, reason| match reason {
        Error::ConnectionLost(Some(error)) => log.add(format!("{name} {:?}", error.kind())),
        reason => log.add(format!("{name} {}", reason_name(reason))),
    }
}

/// Runs a scrambled `server` whose protocol is paused, with a client that sends `last` when the layer is open, and then
/// resets the connection. Passes the server's end to `then` when the reset has arrived.
fn after_last_bytes(subject: &Subject, server: Script, last: &[u8], then: impl FnOnce(Transport) + 'static) {
    let (reactor, servers) = (subject.reactor(), Transports::new());
    let server = server.on_made(Transport::pause_producing).listed_in(&servers);
    let server = server.on_opened(|transport| transport.write(b"ready"));
    let (last, left) = (last.to_vec(), Cell::new(frame(b"ready").len() + 1));
    let then = Cell::new(Some(then));
    let client = Script::new().on_made(|transport| transport.write(b"H")).on_data(move |transport, data| {
        left.set(left.get() - data.len());
        if left.get() > 0 {
            return;
        }
        transport.write(&last);
        let (sender, client, servers) = (transport.clone(), transport.clone(), servers.clone());
        let then = then.take().expect("the last byte comes once");
        when(
            &transport.reactor(),
            move || sender.buffered() == 0,
            move |reactor| {
                client.abort_connection();
                after_some_turns(reactor, move |_| then(servers.first()));
            },
        );
    });
    subject.join(&reactor, &server.stop_when_lost(), &client);
    run(&reactor);
}

/// A producer that logs each call with the queue of its consumer, and closes the connection when it is resumed.
struct Noting {
    log: Log,
    consumer: Transport,
}

impl PushProducer for Noting {
    fn pause_producing(&self) {
        assert!(self.consumer.buffered() > HIGH);
        self.log.add("pause");
    }

    fn resume_producing(&self) {
        self.log.add(format!("resume at {}", self.consumer.buffered()));
        self.consumer.unregister_producer();
        self.consumer.lose_connection();
    }

    fn stop_producing(&self) {
        self.log.add("stop");
    }
}

type Incoming = fn(&mut [u8], &mut Outbox, &mut LayerState) -> io::Result<usize>;

/// A layer that answers received bytes as a test says.
struct Custom(LayerState, Incoming);

impl Layer for Custom {
    fn incoming(&mut self, received: &mut [u8], _plain: &mut Outbox, queue: &mut Outbox) -> io::Result<usize> {
        (self.1)(received, queue, &mut self.0)
    }

    fn incoming_ended(&mut self, _rest: usize) -> io::Result<()> {
        Ok(())
    }

    fn outgoing(&mut self, _: &mut [u8], _: &mut Outbox, _: &mut Outbox, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _: &mut [u8], _: &mut Outbox) {}

    fn state(&self) -> LayerState {
        self.0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Custom {
    fn drop(&mut self) {
        assert!(!self.0.contains(PANICS), "the destructor of a layer is user code");
    }
}

/// A state in which the destructor of [`Custom`] panics.
const PANICS: LayerState = LayerState::from_bits_retain(1 << 7);

/// A layer that writes to its own connection.
struct Selfish(Transport);

impl Layer for Selfish {
    fn incoming(&mut self, _: &mut [u8], _: &mut Outbox, _: &mut Outbox) -> io::Result<usize> {
        Ok(0)
    }

    fn incoming_ended(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn outgoing(&mut self, _: &mut [u8], _: &mut Outbox, _: &mut Outbox, _: usize) -> io::Result<()> {
        self.0.write(b"hello");
        Ok(())
    }

    fn close(&mut self, _: &mut [u8], _: &mut Outbox) {}

    fn state(&self) -> LayerState {
        LayerState::OPEN
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A script whose connection starts a custom layer before anything else.
fn custom(incoming: Incoming) -> Script {
    Script::new().on_made(move |transport| {
        let layer = Custom(LayerState::empty(), incoming);
        transport.start_layer(Box::new(layer), LIMIT).expect("it has none");
    })
}

specifications! {
    layers;

    fn bytes_behind_a_done_layer_wait_for_its_reply(subject: &Subject) {
        // LayerState::DONE: the layer's own bytes leave first, and the bytes that follow them are plain.
        let server = custom(|received, queue, state| {
            if received.len() < 3 {
                return Ok(0);
            }
            queue.write(b"granted");
            *state = LayerState::OPEN | LayerState::DONE;
            Ok(3)
        });
        let server = server.on_made(|transport| {
            let hold = Cell::new(Some(transport.hold_writing()));
            after_some_turns(&transport.reactor(), move |_| drop(hold.take()));
        });
        let client = Script::new().on_made(|transport| {
            transport.write(b"PREplain");
            transport.lose_write_connection();
        });
        subject.converse(&server, &client);
        assert_eq!((server.received(), client.received()), (b"plain".to_vec(), b"granted".to_vec()));
    }

    fn a_done_layer_reports_the_end_of_its_peer(subject: &Subject) {
        // LayerState::PEER_ENDED: bytes received after the peer's end are ignored, also if the layer is done.
        let log = Log::new();
        let (opened, read) = (log.clone(), log.clone());
        let server = custom(|received, queue, state| {
            if received.len() < 3 {
                return Ok(0);
            }
            queue.write(b"granted");
            *state = LayerState::OPEN | LayerState::DONE | LayerState::PEER_ENDED;
            Ok(3)
        });
        let server = server.on_opened(move |_| opened.add("opened"));
        let server = server.on_data(|_, data| panic!("{}", data.escape_ascii()));
        let server = server.on_read_lost(move |transport| {
            read.add("read lost");
            transport.lose_connection();
        });
        let client = Script::new().on_made(|transport| transport.write(b"PREignored"));
        subject.converse(&server.on_lost(logs_loss(&log, "server")), &client);
        assert_eq!(client.received(), b"granted");
        log.expect(&["opened", "read lost", "server ConnectionDone"]);
    }

    fn a_layer_that_writes_to_its_own_connection_panics(subject: &Subject) {
        // Layer::outgoing: such a write would be lost, or overtake the bytes that the layer transforms.
        let (reactor, log) = (subject.plain_reactor(), Log::new());
        let lost = log.clone();
        let server = Script::new().on_made(|transport| {
            transport.start_layer(Box::new(Selfish(transport.clone())), LIMIT).expect("it has none");
        });
        let server = server.on_lost(move |_, reason| lost.add(reason.to_string()));
        subject.converse_on(&reactor, &server, &Script::new());
        assert!(log.entries()[0].ends_with("it must append to `queue` instead"), "{:?}", log.entries());
    }

    fn an_error_of_a_layer_names_the_layer(subject: &Subject) {
        // Layer::name
        let log = Log::new();
        let lost = log.clone();
        let server = scrambled().on_lost(move |_, reason| lost.add(reason.to_string()));
        subject.converse(&server, &Script::new().on_made(|transport| transport.write(b"junk")));
        log.expect(&["connection was lost: layer \"Scrambler\": not a frame"]);
    }

    fn an_abort_drops_the_final_bytes_of_a_failed_layer(subject: &Subject) {
        // ITCPTransport.abortConnection overrules every earlier request.
        let log = Log::new();
        let server = custom(|_, queue, state| {
            *state = LayerState::OPEN;
            queue.write(&vec![b'E'; TOO_MUCH]);
            Err(io::ErrorKind::InvalidData.into())
        });
        let server = server.on_made(|transport| {
            let later = transport.clone();
            after_some_turns(&transport.reactor(), move |_| later.abort_connection());
        });
        let lost = log.clone();
        let client = Script::new().on_made(move |transport| {
            transport.write(b"x");
            transport.pause_producing();
            let (later, lost) = (transport.clone(), lost.clone());
            when(&transport.reactor(), move || !lost.entries().is_empty(), move |_| later.resume_producing());
        });
        subject.converse(&server.on_lost(logs_loss(&log, "server")), &client);
        log.expect(&["server ConnectionAborted"]);
    }

    fn bytes_that_a_layer_does_not_take_have_a_bound(subject: &Subject) {
        // A peer cannot fill the memory while a layer waits for the rest of a unit.
        let log = Log::new();
        let server = custom(|_, _, _| Ok(0)).on_lost(logs_loss(&log, "server"));
        let client = Script::new().on_made(|transport| transport.write(&vec![0; TOO_MUCH]));
        subject.converse(&server, &client);
        log.expect(&["server Other"]);
    }

    fn a_panic_in_a_layers_drop_leaves_the_loop_running(subject: &Subject) {
        // The connection still ends with connection_lost, and the loop continues.
        let (reactor, log) = (subject.reactor(), Log::new());
        reactor.set_panic_policy(PanicPolicy::Log);
        let server = custom(|received, _, state| {
            *state = LayerState::OPEN | LayerState::PEER_ENDED | PANICS;
            Ok(received.len())
        });
        let server = server.on_lost(logs_loss(&log, "server"));
        let client = Script::new().on_made(|transport| transport.write(b"x"));
        subject.converse_on(&reactor, &server, &client);
        assert_eq!(log.entries().len(), 1);
    }

    fn a_half_closed_connection_refuses_a_layer(subject: &Subject) {
        // A layer needs both directions.
        let log = Log::new();
        let refused = log.clone();
        let server = Script::new().on_read_lost(move |transport| {
            let layer = Custom(LayerState::empty(), |_, _, _| Ok(0));
            let error = transport.start_layer(Box::new(layer), LIMIT).expect_err("one direction has ended");
            refused.add(error.to_string());
            transport.lose_connection();
        });
        subject.converse(&server, &Script::new().on_made(Transport::lose_write_connection));
        assert!(log.entries()[0].starts_with("cannot start a layer on a half-closed connection"), "{:?}", log.entries());
    }

    fn the_layer_opens_before_the_first_byte(subject: &Subject) {
        // Protocol::layer_opened: bytes written before this callback wait until the layer is open.
        let log = Log::new();
        let (made, opened, data) = (log.clone(), log.clone(), log.clone());
        let server = scrambled()
            .on_made(move |_| made.add("made"))
            .on_opened(move |_| opened.add("opened"))
            .on_data(move |transport, bytes| {
                data.add(format!("data {}", bytes.escape_ascii()));
                transport.lose_connection();
            });
        let client = scrambled().on_made(|transport| transport.write(b"early"));
        subject.converse(&server, &client);
        log.expect(&["made", "opened", "data early"]);
    }

    fn bytes_pass_whole_in_both_directions(subject: &Subject) {
        // 8 MB pass in both directions, through queues and partial sends.
        let sent = noise(TOO_MUCH, 21);
        let (bytes, received) = (sent.clone(), Cell::new(0));
        let client = scrambled().on_made(move |transport| transport.write(&bytes)).on_data(move |transport, data| {
            received.set(received.get() + data.len());
            if received.get() == TOO_MUCH {
                transport.lose_connection();
            }
        });
        subject.converse(&Script::echo().on_made(start), &client);
        assert_same_bytes(&client.received(), &sent);
    }

    fn a_layer_starts_in_the_middle_of_a_connection(subject: &Subject) {
        // As in STARTTLS, one segment has clear bytes and then the peer's first layered bytes. The protocol returns the
        // latter to the layer.
        let server = Script::new().on_data(|transport, data| {
            if transport.with_layer(|_| ()).is_none() {
                let rest = data.strip_prefix(b"start").expect("one segment");
                transport.write(b"clear ");
                start(transport);
                transport.unread(rest);
                transport.write(b"hidden");
            } else {
                transport.lose_connection();
            }
        });
        let first = [b"start".to_vec(), Scrambler::greeting_with(b"hello")].concat();
        let client = Script::new().on_made(move |transport| transport.write(&first));
        subject.converse(&server, &client);
        assert_eq!(server.received(), [b"start".to_vec(), Scrambler::greeting_with(b"hello"), b"hello".to_vec()].concat());
        let hidden = Scrambler::greeting_with(b"hidden");
        assert_eq!(client.received(), [&b"clear "[..], &hidden, b"C"].concat());
    }

    fn a_client_starts_a_layer_in_the_middle(subject: &Subject) {
        // The server's first layered bytes come in one segment with its last clear bytes.
        let answer = [b"clear ".to_vec(), Scrambler::greeting_with(b"hello")].concat();
        let server = Script::new().on_data(move |transport, data| {
            if data == b"start" {
                transport.write(&answer);
            }
        });
        let client = Script::new().on_made(|transport| transport.write(b"start")).on_data(|transport, data| {
            if transport.with_layer(|_| ()).is_none() {
                let rest = data.strip_prefix(b"clear ").expect("one segment");
                start(transport);
                transport.unread(rest);
                transport.write(b"hidden");
            } else {
                assert_eq!(data, b"hello");
                transport.lose_connection();
            }
        });
        subject.converse(&server, &client);
        assert!(client.received().ends_with(b"hello"));
        let hidden = Scrambler::greeting_with(b"hidden");
        assert_eq!(server.received(), [&b"start"[..], &hidden, b"C"].concat());
    }

    fn a_producer_is_resumed_when_the_transformed_bytes_have_left(subject: &Subject) {
        // IPushProducer: the marks count the bytes on both sides of the layer.
        let (reactor, log, clients) = (subject.reactor(), Log::new(), Transports::new());
        let (told, ends) = (log.clone(), Countdown::new(2));
        let server = scrambled().counted_by(&ends).on_opened(move |transport| {
            transport.set_watermarks(HIGH, 0);
            let producer = Noting { log: told.clone(), consumer: transport.clone() };
            transport.register_producer(Producer::push(Rc::new(producer))).unwrap();
            transport.write(&vec![7; TOO_MUCH]);
        });
        let client = scrambled().listed_in(&clients).counted_by(&ends).on_opened(Transport::pause_producing);
        subject.join(&reactor, &server, &client);
        let paused = log.clone();
        when(&reactor, move || paused.contains("pause"), move |_| clients.first().resume_producing());
        run(&reactor);
        assert_eq!(client.received().len(), TOO_MUCH);
        log.expect(&["pause", "resume at 0"]);
    }

    fn a_queue_of_clear_bytes_leaves_before_the_layer(subject: &Subject) {
        // Bytes written before the layer was started are not transformed, however many there are.
        let clear = noise(TOO_MUCH, 22);
        let bytes = clear.clone();
        let server = Script::new().on_made(move |transport| {
            transport.write(&bytes);
            start(transport);
            transport.write(b"hidden");
        });
        let server = server.on_data(|transport, _| transport.lose_connection());
        let (received, count) = (Rc::new(RefCell::new(Vec::new())), TOO_MUCH);
        let all = received.clone();
        let client = Script::new().on_data(move |transport, data| {
            all.borrow_mut().extend_from_slice(data);
            if all.borrow().len() == count + 1 {
                transport.write(&Scrambler::greeting_with(b"enough"));
            }
        });
        subject.converse(&server, &client);
        assert_same_bytes(&received.borrow()[..count], &clear);
        assert!(received.borrow()[count..].starts_with(&Scrambler::greeting_with(b"hidden")));
    }

    fn losing_the_connection_sends_the_close(subject: &Subject) {
        // ITransport.loseConnection sends the queue, then the layer's close. The peer gets ConnectionDone.
        let log = Log::new();
        let server = scrambled()
            .on_made(|transport| {
                transport.write(&vec![7; TOO_MUCH]);
                transport.lose_connection();
            })
            .on_lost(logs_loss(&log, "server"));
        let client = scrambled().on_lost(logs_loss(&log, "client"));
        subject.converse(&server, &client);
        assert_eq!(client.received().len(), TOO_MUCH);
        assert_eq!((log.count("server ConnectionDone"), log.count("client ConnectionDone")), (1, 1));
    }

    fn losing_the_write_end_sends_the_close_alone(subject: &Subject) {
        // IHalfCloseableProtocol: a half-close sends the layer's close, and the other end can still answer.
        let log = Log::new();
        let (wrote, read) = (log.clone(), log.clone());
        let client = scrambled()
            .on_made(|transport| {
                transport.write(b"question");
                transport.lose_write_connection();
            })
            .on_write_lost(move |_| wrote.add("client write lost"))
            .on_lost(logs_loss(&log, "client"));
        let server = scrambled()
            .on_read_lost(move |transport| {
                read.add("server read lost");
                transport.write(b"answer");
                transport.lose_connection();
            })
            .on_lost(logs_loss(&log, "server"));
        subject.converse(&server, &client);
        assert_eq!((server.received(), client.received()), (b"question".to_vec(), b"answer".to_vec()));
        for entry in ["client write lost", "server read lost", "client ConnectionDone", "server ConnectionDone"] {
            assert_eq!(log.count(entry), 1, "{entry}: {:?}", log.entries());
        }
    }

    fn an_end_without_a_close_is_a_truncation(subject: &Subject) {
        // The data before the end is delivered.
        let log = Log::new();
        let server = scrambled().on_lost(logs_loss(&log, "server"));
        let client = Script::new().on_made(|transport| {
            transport.write(&Scrambler::greeting_with(b"half a"));
            transport.lose_write_connection();
        });
        subject.converse(&server, &client);
        assert_eq!(server.received(), b"half a");
        log.expect(&["server UnexpectedEof"]);
    }

    fn a_layer_that_fails_sends_only_its_final_bytes(subject: &Subject) {
        // The reason is the layer's error. Its final bytes arrive, and no bytes that were written later follow them.
        let log = Log::new();
        let (server, client) = (scrambled(), Script::new());
        let server = server.on_data(|transport, _| transport.write(b"reply")).on_lost(logs_loss(&log, "server"));
        let client = client.on_made(|transport| {
            transport.write(&[&Scrambler::greeting_with(b"x")[..], b"junk"].concat());
        });
        let client = client.on_lost(logs_loss(&log, "client"));
        subject.converse(&server, &client);
        assert!(client.received().ends_with(b"E"), "{}", client.received().escape_ascii());
        assert!(log.contains("server InvalidData"), "{:?}", log.entries());
        assert!(log.contains("client ConnectionDone"), "{:?}", log.entries());
    }

    fn a_paused_protocol_gets_the_bytes_before_a_failure(subject: &Subject) {
        // The protocol gets all data, then the end with the layer's error.
        let log = Log::new();
        let server = scrambled()
            .on_opened(|transport| {
                transport.pause_producing();
                let later = transport.clone();
                after_some_turns(&transport.reactor(), move |_| later.resume_producing());
            })
            .on_lost(logs_loss(&log, "server"));
        let client = Script::new().on_made(|transport| {
            transport.write(&[&Scrambler::greeting_with(b"before")[..], b"junk"].concat());
        });
        subject.converse(&server, &client);
        assert_eq!(server.received(), b"before");
        assert!(client.received().ends_with(b"E"), "{}", client.received().escape_ascii());
        log.expect(&["server InvalidData"]);
    }

    fn a_failed_write_is_explained_by_the_last_bytes_of_the_peer(subject: &Subject) {
        // RFC 8446, section 6.2: a peer sends an alert and closes. The reason is the alert, and not the reset that
        // follows it.
        let log = Log::new();
        let server = scrambled().on_lost(logs_loss(&log, "server"));
        let (client, resumed) = (server.clone(), log.clone());
        after_last_bytes(subject, server, &[&frame(b"last")[..], b"E"].concat(), move |end| {
            end.write(b"x");
            after_some_turns(&end.reactor(), move |reactor| {
                end.write(b"x");
                after_some_turns(reactor, move |_| {
                    resumed.add("resumed");
                    end.resume_producing();
                });
            });
        });
        assert_eq!(client.received(), b"last");
        log.expect(&["resumed", "server PermissionDenied"]);
    }

    fn a_failed_write_shows_the_last_bytes_to_a_paused_layer(subject: &Subject) {
        // A pause holds only data back. The peer's final bytes are not data, so the connection ends although the
        // protocol is paused.
        let log = Log::new();
        after_last_bytes(subject, scrambled().on_lost(logs_loss(&log, "server")), b"E", |end| {
            end.write(b"x");
            after_some_turns(&end.reactor(), move |_| end.write(b"x"));
        });
        log.expect(&["server PermissionDenied"]);
    }

    fn a_failed_write_delivers_the_received_data_of_a_layer(subject: &Subject) {
        // The peer's layer has sent no error, so the reason is the error of the write.
        let (log, sent) = (Log::new(), noise(60_000, 24));
        let frames: Vec<u8> = sent.chunks(1000).flat_map(frame).collect();
        let lost = log.clone();
        let server = scrambled().on_lost(move |_, reason| {
            let Error::ConnectionLost(Some(error)) = reason else { panic!("{reason:?}") };
            assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
            lost.add("lost");
        });
        let reader = server.clone();
        after_last_bytes(subject, server, &frames, |end| {
            end.write(b"x");
            end.resume_producing();
        });
        assert_same_bytes(&reader.received(), &sent);
        log.expect(&["lost"]);
    }

    fn the_last_bytes_of_the_peer_may_open_the_layer(subject: &Subject) {
        // This side's greeting cannot be sent any more. The peer's greeting was received, and data follows it.
        let log = Log::new();
        let (opened, data) = (log.clone(), log.clone());
        let server = Script::new().stop_when_lost().on_opened(move |_| opened.add("opened"));
        let server = server.on_data(move |_, bytes| data.add(format!("data {}", bytes.escape_ascii())));
        let server = server.before_lost(logs_loss(&log, "server"));
        let sent = [Scrambler::greeting_with(b"last"), b"E".to_vec()].concat();
        subject.after_a_reset(&subject.reactor(), &server, &sent, |end| {
            end.write(b"x");
            start(&end);
            end.resume_producing();
        });
        log.expect(&["opened", "data last", "server PermissionDenied"]);
    }

    fn a_failed_close_after_the_peers_close_is_clean(subject: &Subject) {
        // A failure to send the close is not an error: the peer has received everything, and may be gone.
        let log = Log::new();
        let server = scrambled().on_read_lost(|_| {}).on_lost(logs_loss(&log, "server"));
        after_last_bytes(subject, server, b"C", |end| {
            end.resume_producing();
            after_some_turns(&end.reactor(), move |_| end.lose_connection());
        });
        log.expect(&["server ConnectionDone"]);
    }

    fn an_abort_sends_neither_the_queue_nor_the_close(subject: &Subject) {
        // ITCPTransport.abortConnection
        let log = Log::new();
        let server = scrambled()
            .on_data(|transport, _| {
                transport.write(b"never sent");
                transport.abort_connection();
            })
            .on_lost(logs_loss(&log, "server"));
        let client = scrambled().on_made(|transport| transport.write(b"x"));
        subject.converse(&server, &client);
        assert_eq!(client.received(), b"");
        log.expect(&["server ConnectionAborted"]);
    }

    fn a_layer_that_does_not_open_in_time_times_out(subject: &Subject) {
        // The peer never sends its greeting.
        let log = Log::new();
        let limit = Duration::from_millis(20);
        let server = Script::new().on_made(move |transport| {
            transport.start_layer(Scrambler::new(), limit).unwrap();
            transport.pause_producing();
        });
        subject.converse(&server.on_lost(logs_loss(&log, "server")), &Script::new());
        log.expect(&["server TimedOut"]);
    }

    fn the_layer_opens_while_the_protocol_is_paused(subject: &Subject) {
        // The layer opens although the protocol is paused. The data waits until the protocol resumes.
        let log = Log::new();
        let opened = log.clone();
        let server = scrambled()
            .on_made(Transport::pause_producing)
            .on_opened(move |transport| {
                opened.add("opened");
                let later = transport.clone();
                after_some_turns(&transport.reactor(), move |_| later.resume_producing());
            })
            .on_lost(logs_loss(&log, "server"));
        let client = scrambled().on_made(|transport| {
            transport.write(b"patience");
            transport.lose_connection();
        });
        subject.converse(&server, &client);
        assert_eq!(server.received(), b"patience");
        log.expect(&["opened", "server ConnectionDone"]);
    }

    fn a_paced_connection_with_a_layer_is_bounded(subject: &Subject) {
        // The marks count the bytes that wait on both sides of the layer.
        let (sent, most, clients) = (noise(TOO_MUCH, 23), Rc::new(Cell::new(0)), Transports::new());
        let (reactor, ends) = (subject.reactor(), Countdown::new(2));
        let highest = most.clone();
        let server = Script::echo().on_made(start).counted_by(&ends).on_data(move |transport, _| {
            highest.set(highest.get().max(transport.buffered()));
        });
        let (bytes, received) = (sent.clone(), Cell::new(0));
        let client = scrambled().listed_in(&clients).counted_by(&ends).on_opened(move |transport| {
            transport.pause_producing();
            transport.write(&bytes);
        });
        let client = client.on_data(move |transport, data| {
            received.set(received.get() + data.len());
            if received.get() == TOO_MUCH {
                transport.lose_connection();
            }
        });
        let port = subject.listen(&reactor, paced(server.factory()));
        subject.connect(&reactor, &port, client.factory());
        let full = most.clone();
        when(&reactor, move || full.get() > HIGH, move |_| clients.first().resume_producing());
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
        // The queue may exceed the mark by the answers to one delivery and by the bytes that the layer adds.
        assert!(most.get() <= 4 * HIGH, "{} bytes were queued", most.get());
    }

    fn a_second_layer_is_refused(subject: &Subject) {
        // Transport::start_layer: to stack two layers, write one layer that contains both.
        let (reactor, log) = (subject.reactor(), Log::new());
        let told = log.clone();
        let server = scrambled().on_made(move |transport| {
            let refused = transport.start_layer(Scrambler::new(), LIMIT).unwrap_err();
            told.add(reason_name(&refused));
            transport.lose_connection();
            stop(&transport.reactor());
        });
        subject.join(&reactor, &server, &Script::new());
        run(&reactor);
        log.expect(&["Io"]);
    }
}

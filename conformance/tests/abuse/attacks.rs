//! The peers. Each attack is one function, which ends when its connections have ended.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ropewalk::tls::rustls::pki_types::pem::PemObject;
use ropewalk::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ropewalk::tls::rustls::version::{TLS12, TLS13};
use ropewalk::tls::rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned};
use ropewalk_conformance::certificates::{Authority, Issued};
use ropewalk_conformance::links::noise;
use ropewalk_conformance::tls_ends::NAME;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A server, and the authority that its clients trust.
pub(crate) struct Target {
    host: SocketAddr,
    authority: Authority,
}

impl Target {
    pub(crate) fn new(host: SocketAddr) -> Target {
        Target { host, authority: Authority::replayed(&[NAME]).0 }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn connect_all(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Returns a client whose handshake is complete.
    fn client(&self, config: &Arc<ClientConfig>) -> Client {
        let connection = ClientConnection::new(config.clone(), NAME.try_into().unwrap()).unwrap();
        let mut client = StreamOwned::new(connection, self.connect());
        while client.conn.is_handshaking() || client.conn.wants_write() {
            client.conn.complete_io(&mut client.sock).unwrap();
        }
        client
    }

    /// Returns clients, each of which connects when the iterator reaches it.
    fn clients(&self, count: usize) -> impl Iterator<Item = Client> {
        let config = Arc::new(self.authority.foreign_client(&[&TLS13]));
        (0..count).map(move |_| self.client(&config))
    }
}

/// Waits until the server has closed or reset the connection.
fn await_end(mut stream: &TcpStream) {
    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
}

pub(crate) fn say_nothing(target: &Target) {
    target.connect_all(300).iter().for_each(await_end);
}

pub(crate) fn dribble(target: &Target) {
    let streams = target.connect_all(300);
    // A long hello, whose end never comes.
    let hello = long_hello(1000);
    for byte in [&[22, 3, 1, 0x3f, 0xff][..], &hello].concat() {
        // A write fails once the limit has passed.
        let sent = streams.iter().filter_map(|mut stream| stream.write_all(&[byte]).ok()).count();
        if sent == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    streams.iter().for_each(await_end);
}

/// Returns the first `length` bytes of a hello of nearly 64 KiB.
fn long_hello(length: usize) -> Vec<u8> {
    let mut hello = vec![1, 0, 0xff, 0xf0, 3, 3];
    hello.resize(length, 0);
    hello
}

pub(crate) fn send_half_a_record(target: &Target) {
    let streams = target.connect_all(300);
    let record = [&[22, 3, 1, 0x3f, 0xff][..], &long_hello(0x3ff0)].concat();
    streams.iter().for_each(|mut stream| stream.write_all(&record).unwrap());
    streams.iter().for_each(await_end);
}

pub(crate) fn send_a_hello_in_bytes(target: &Target) {
    let streams = target.connect_all(20);
    let records: Vec<u8> = long_hello(60_000).into_iter().flat_map(|byte| [22, 3, 1, 0, 1, byte]).collect();
    for piece in records.chunks(3000) {
        // A write fails if the server has refused the hello.
        streams.iter().for_each(|mut stream| drop(stream.write_all(piece)));
    }
    streams.iter().for_each(await_end);
}

pub(crate) fn send_garbage(target: &Target) {
    let garbage = noise(1_000_000, 90);
    for _ in 0..100 {
        let mut stream = target.connect();
        let _ = stream.write_all(&garbage);
        await_end(&stream);
    }
}

pub(crate) fn shake_hands_and_leave(target: &Target) {
    // The tickets are unread, so closing resets the connection.
    let clients: Vec<Client> = target.clients(300).collect();
    for client in clients {
        client.sock.peek(&mut [0]).unwrap();
    }
}

pub(crate) fn send_half_a_record_later(target: &Target) {
    let record = [&[23, 3, 3, 0x3f, 0xff][..], &[7; 0x3ff0]].concat();
    let mut clients: Vec<Client> = target.clients(300).collect();
    clients.iter_mut().for_each(|client| client.sock.write_all(&record).unwrap());
    // The server gets the records of all before the first connection ends.
    thread::sleep(Duration::from_millis(300));
}

pub(crate) fn update_keys(target: &Target) {
    for mut client in target.clients(20) {
        client.conn.set_buffer_limit(None);
        for _ in 0..10_000 {
            client.conn.refresh_traffic_keys().unwrap();
        }
        while client.conn.wants_write() && client.conn.write_tls(&mut client.sock).is_ok() {}
        await_end(&client.sock);
    }
}

pub(crate) fn update_keys_between_bytes(target: &Target) {
    for mut client in target.clients(20) {
        client.conn.set_buffer_limit(None);
        for _ in 0..10_000 {
            client.conn.refresh_traffic_keys().unwrap();
            client.conn.writer().write_all(b"x").unwrap();
        }
        client.flush().unwrap();
        client.read_exact(&mut [0; 10_000]).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        await_end(&client.sock);
    }
}

pub(crate) fn warn_in_the_handshake(target: &Target) {
    let config = Arc::new(target.authority.foreign_client(&[&TLS12]));
    // After the messages of a server that speaks TLS 1.2, the client's next records are still plain.
    let user_canceled = [21, 3, 3, 0, 2, 1, 90];
    for _ in 0..20 {
        let mut client = ClientConnection::new(config.clone(), NAME.try_into().unwrap()).unwrap();
        let mut stream = target.connect();
        client.write_tls(&mut stream).unwrap();
        // A write fails once the server has refused the alerts.
        let _ = stream.write_all(&user_canceled.repeat(10_000));
        await_end(&stream);
    }
}

/// Returns 100 certificates that another authority has issued, and the key of the first.
fn many_certificates() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let authority = Authority::new("an authority without trust");
    let issued: Vec<Issued> = (0..100).map(|_| authority.issue(&["a name"])).collect();
    let chain = issued.iter().map(|one| CertificateDer::from_pem_slice(one.certificate().as_bytes()).unwrap());
    (chain.collect(), PrivateKeyDer::from_pem_slice(issued[0].key().as_bytes()).unwrap())
}

pub(crate) fn present_many_certificates(target: &Target) {
    let (chain, key) = many_certificates();
    let config = Arc::new(target.authority.foreign_client_with(&[&TLS13], chain, key));
    for _ in 0..20 {
        let client = target.client(&config);
        await_end(&client.sock);
    }
}

pub(crate) fn serve_many_certificates(listener: &TcpListener, count: usize) {
    let (chain, key) = many_certificates();
    let config = Arc::new(Issued::foreign_server_of(&[&TLS13], chain, key));
    for _ in 0..count {
        let connection = ServerConnection::new(config.clone()).unwrap();
        let mut server = StreamOwned::new(connection, listener.accept().unwrap().0);
        // The client closes behind its alert.
        while server.conn.complete_io(&mut server.sock).is_ok_and(|(read, _)| read > 0) {}
    }
}

pub(crate) fn never_read(target: &Target) {
    let mut clients: Vec<Client> = target.clients(20).collect();
    let megabyte = noise(1_000_000, 91);
    for client in &mut clients {
        client.sock.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        // The server stops reading at some point, and the write fails with the timeout.
        let _ = (0..16).try_for_each(|_| client.write_all(&megabyte));
    }
}

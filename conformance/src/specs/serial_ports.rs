//! Serial ports: SerialPort of `twisted.internet.serialport`. The line is a pseudo-terminal, pty(7): its slave is the
//! device, and its master is the other end.

use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::endpoints::{client_from_string, server_from_string};
use ropewalk::serial::{DataBits, SerialSettings};
use ropewalk::{Error, Factory, Reactor, SerialPort, Transport};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::links::{assert_same_bytes, noise};
use crate::script::{Log, LoggingFactory, Script, stop};
use crate::terminals::pseudo_terminal;
use crate::waiting::iterate_until;
use crate::{run, specifications};

/// A serial line with a device at one end.
struct Line {
    other_end: File,
    device: PathBuf,
}

impl Line {
    fn new() -> Line {
        let (master, device) = pseudo_terminal();
        Line { other_end: master.into(), device }
    }

    fn open(&self, reactor: &Reactor, factory: &dyn Factory) -> SerialPort {
        reactor.open_serial_port(&self.device, &SerialSettings::new(115_200), factory).expect("a pseudo-terminal opens")
    }

    /// Returns the settings of the device.
    fn settings(&self) -> Termios {
        tcgetattr(&self.other_end).unwrap()
    }

    /// Unplugs the device.
    fn vanish_soon(self, reactor: &Reactor) -> PathBuf {
        let Line { other_end, device } = self;
        reactor.call_later(Duration::from_millis(5), move |_| drop(other_end));
        device
    }
}

fn is_same(one: &Termios, other: &Termios) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// Returns the number of descriptors of this process that refer to `device`, where the system lists them.
fn descriptors_of(device: &Path) -> usize {
    let numbers = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let names = numbers.filter_map(|number| std::fs::read_link(number.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with(&*device.to_string_lossy())).count()
}

/// Returns the reason of a loss as a user reads it.
fn lost(transport: &Transport, reactor: &Reactor) -> Error {
    let lost = transport.when_lost();
    reactor.iterate(Some(Duration::ZERO)).unwrap();
    lost.try_result().expect("it is lost").unwrap()
}

fn assert_is_gone(reason: &Error) {
    let Error::ConnectionLost(Some(cause)) = reason else { panic!("no cause: {reason}") };
    assert_eq!((cause.kind(), cause.to_string().as_str()), (ErrorKind::NotConnected, "the device is gone"));
    assert!(reason.raw_os_error().is_some(), "the system's error is kept");
}

/// Fails if the loop does not sleep although no event is left.
fn assert_no_spin(reactor: &Reactor) {
    let began = Instant::now();
    for _ in 0..6 {
        reactor.iterate(Some(Duration::from_millis(20))).unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(80), "the loop spins");
}

specifications! {
    serial_ports;

    fn a_vanished_device_is_reported_while_the_line_is_idle(subject: &Subject) {
        // "device reports readiness to read but returned no data (device disconnected?)" is what users of others see.
        let (reactor, log, line) = (subject.reactor(), Log::new(), Line::new());
        let script = Script::logged(&log, "port").stop_when_lost();
        let port = line.open(&reactor, &script.factory());
        assert_no_spin(&reactor);
        let device = line.vanish_soon(&reactor);
        run(&reactor);
        log.expect(&["port made", "port lost ConnectionLost"]);
        assert_is_gone(&lost(&port, &reactor));
        assert_no_spin(&reactor);
        assert_eq!((reactor.source_count(), descriptors_of(&device)), (0, 0));
        assert!(matches!(port.unsent(), Err(Error::Closed)));
    }

    fn a_vanished_device_is_closed_before_connection_lost(subject: &Subject) {
        // The name of a device is free again only when its last descriptor is closed.
        let (reactor, line) = (subject.reactor(), Line::new());
        let (device, left) = (line.device.clone(), Rc::new(RefCell::new(None)));
        let counted = left.clone();
        let script = Script::new().stop_when_lost().on_lost(move |_, _| {
            counted.replace(Some(descriptors_of(&device)));
        });
        line.open(&reactor, &script.factory());
        line.vanish_soon(&reactor);
        run(&reactor);
        assert_eq!(*left.borrow(), Some(0));
    }

    fn a_vanished_device_is_reported_while_it_sends(subject: &Subject) {
        // The system drops what was not received: pty(7).
        let (reactor, log, line) = (subject.reactor(), Log::new(), Line::new());
        let script = Script::new().stop_when_lost().on_lost({
            let log = log.clone();
            move |_, _| log.add("lost")
        });
        let port = line.open(&reactor, &script.factory());
        let mut other_end = line.other_end;
        let sender = thread::spawn(move || {
            for _ in 0..50 {
                other_end.write_all(&[b'x'; 1000]).unwrap();
            }
        });
        run(&reactor);
        sender.join().unwrap();
        log.expect(&["lost"]);
        assert_is_gone(&lost(&port, &reactor));
        assert!(script.received().len() <= 50_000);
    }

    fn a_vanished_device_is_reported_while_bytes_are_queued(subject: &Subject) {
        // A device without a reader takes some kilobytes.
        let (reactor, log, line) = (subject.reactor(), Log::new(), Line::new());
        let script = Script::logged(&log, "port").stop_when_lost();
        let port = line.open(&reactor, &script.factory());
        port.write(&[b'x'; 100_000]);
        for _ in 0..5 {
            reactor.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        assert!(port.buffered() >= 10_000);
        assert_no_spin(&reactor);
        line.vanish_soon(&reactor);
        run(&reactor);
        log.expect(&["port made", "port lost ConnectionLost"]);
        assert_is_gone(&lost(&port, &reactor));
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_vanished_device_is_reported_to_a_paused_protocol(subject: &Subject) {
        // IPushProducer: a pause stops data, not the end.
        let (reactor, log, line) = (subject.reactor(), Log::new(), Line::new());
        let script = Script::logged(&log, "port").stop_when_lost().on_made(Transport::pause_producing);
        let port = line.open(&reactor, &script.factory());
        line.vanish_soon(&reactor);
        run(&reactor);
        log.expect(&["port made", "port lost ConnectionLost"]);
        assert_is_gone(&lost(&port, &reactor));
        assert_no_spin(&reactor);
    }

    fn a_write_to_a_vanished_device_reports_the_loss(subject: &Subject) {
        // write(2): EIO
        let (reactor, log, line) = (subject.reactor(), Log::new(), Line::new());
        let script = Script::logged(&log, "port").stop_when_lost();
        let port = line.open(&reactor, &script.factory());
        drop(line);
        port.write(b"too late");
        run(&reactor);
        log.expect(&["port made", "port lost ConnectionLost"]);
        assert_is_gone(&lost(&port, &reactor));
    }

    fn every_byte_value_passes_unchanged_in_both_directions(subject: &Subject) {
        // CR, LF, 0x03, 0x04, 0x11, 0x13, 0x00 and 0xff mean something to a terminal.
        let (reactor, line) = (subject.reactor(), Line::new());
        let all = Vec::from_iter(0..=u8::MAX);
        let script = Script::new();
        let port = line.open(&reactor, &script.factory());
        (&line.other_end).write_all(&all).unwrap();
        iterate_until(&reactor, || script.received().len() >= all.len());
        assert_same_bytes(&script.received(), &all);
        port.write(&all);
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        let mut sent = vec![0; 1000];
        // Everything that was echoed would come first.
        let length = (&line.other_end).read(&mut sent).unwrap();
        assert_same_bytes(&sent[..length], &all);
    }

    fn a_megabyte_passes_unchanged_in_both_directions(subject: &Subject) {
        // The kernel takes some kilobytes at a time.
        let (reactor, line, data) = (subject.reactor(), Line::new(), noise(1_000_000, 3));
        let script = Script::echo().on_made(|transport| transport.register_producer(transport.clone()).unwrap());
        line.open(&reactor, &script.factory());
        let (mut sending, mut receiving) = (line.other_end.try_clone().unwrap(), line.other_end);
        let sent = data.clone();
        let sender = thread::spawn(move || sending.write_all(&sent).unwrap());
        let handle = reactor.thread_handle();
        let receiver = thread::spawn(move || {
            let mut received = vec![0; 1_000_000];
            receiving.read_exact(&mut received).unwrap();
            handle.call_from_thread(stop);
            (received, receiving)
        });
        run(&reactor);
        sender.join().unwrap();
        let (received, _still_plugged_in) = receiver.join().unwrap();
        assert_same_bytes(&received, &data);
    }

    fn the_earlier_settings_are_back_when_the_connection_is_closed(subject: &Subject) {
        // The terminal of another program may be behind the same device.
        let (reactor, line) = (subject.reactor(), Line::new());
        let mut before = line.settings();
        before.set_speed(1200).unwrap();
        let device = File::options().read(true).write(true).open(&line.device).unwrap();
        tcsetattr(&device, OptionalActions::Now, &before).unwrap();
        let before = line.settings();
        let script = Script::new().stop_when_lost();
        let port = line.open(&reactor, &script.factory());
        assert!(!is_same(&line.settings(), &before));
        port.lose_connection();
        run(&reactor);
        assert!(is_same(&line.settings(), &before));
        let port = line.open(&reactor, &script.factory());
        port.abort_connection();
        run(&reactor);
        assert!(is_same(&line.settings(), &before));
    }

    fn a_dropped_reactor_restores_the_settings(subject: &Subject) {
        // No descriptor is leaked, and no device stays changed.
        let (reactor, line) = (subject.reactor(), Line::new());
        let before = line.settings();
        let port = line.open(&reactor, &Script::new().factory());
        drop(reactor);
        assert!(is_same(&line.settings(), &before));
        assert_eq!(descriptors_of(&line.device), 0);
        assert!(matches!(port.set_dtr(true), Err(Error::Closed)));
    }

    fn unusual_speeds_are_set_exactly(subject: &Subject) {
        // termios(3): BOTHER. DMX512 runs at 250,000 bits a second.
        let (reactor, line) = (subject.reactor(), Line::new());
        let port = line.open(&reactor, &Script::new().factory());
        assert_eq!(line.settings().output_speed(), 115_200);
        for speed in [250_000, 10_000, 9600] {
            port.set_settings(&SerialSettings::new(speed)).unwrap();
            assert_eq!(line.settings().output_speed(), speed);
        }
    }

    fn a_setting_that_the_device_does_not_take_is_an_error(subject: &Subject) {
        // tcsetattr(3) succeeds if any of the settings could be made. A pseudo-terminal always has eight data bits.
        let (reactor, line) = (subject.reactor(), Line::new());
        let before = line.settings();
        let seven = SerialSettings { data_bits: DataBits::Seven, ..SerialSettings::default() };
        let error = reactor.open_serial_port(&line.device, &seven, &Script::new().factory()).unwrap_err();
        assert_eq!(error.to_string(), "cannot open the serial port: the device does not take 7 data bits");
        assert!(is_same(&line.settings(), &before));
        assert_eq!((reactor.source_count(), descriptors_of(&line.device)), (0, 0));
        let port = line.open(&reactor, &Script::new().factory());
        let error = port.set_settings(&SerialSettings::new(0)).unwrap_err();
        assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == ErrorKind::InvalidInput), "{error}");
        assert!(port.is_connected());
    }

    fn a_port_is_used_by_one_program_at_a_time(subject: &Subject) {
        // TIOCEXCL, and also for root.
        let (reactor, line) = (subject.reactor(), Line::new());
        let script = Script::new().stop_when_lost();
        let port = line.open(&reactor, &script.factory());
        let again = || reactor.open_serial_port(&line.device, &SerialSettings::default(), &Script::new().factory());
        let error = again().unwrap_err();
        let expected = "cannot open the serial port: another program uses ";
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == ErrorKind::ResourceBusy), "{error:#?}");
        port.lose_connection();
        run(&reactor);
        again().unwrap();
    }

    fn a_closed_port_can_be_opened_again_in_connection_lost(subject: &Subject) {
        // A protocol that reconnects.
        let (reactor, line, log) = (subject.reactor(), Line::new(), Log::new());
        let (device, second) = (line.device.clone(), Script::logged(&log, "second"));
        let script = Script::logged(&log, "first").on_lost(move |transport, _| {
            let reactor = transport.reactor();
            reactor.open_serial_port(&device, &SerialSettings::new(9600), &second.factory()).unwrap();
            stop(&reactor);
        });
        line.open(&reactor, &script.factory()).lose_connection();
        run(&reactor);
        log.expect(&["first made", "first lost ConnectionDone", "second made", "second lost ConnectionLost"]);
    }

    fn a_factory_that_builds_no_protocol_closes_the_device(subject: &Subject) {
        // As with adoptStreamConnection.
        let (reactor, line) = (subject.reactor(), Line::new());
        let before = line.settings();
        let refusing = LoggingFactory::refusing(&Log::new());
        let outcome = reactor.open_serial_port(&line.device, &SerialSettings::default(), &refusing);
        assert!(matches!(outcome, Err(Error::Closed)));
        assert!(is_same(&line.settings(), &before));
        assert_eq!((reactor.source_count(), descriptors_of(&line.device)), (0, 0));
    }

    fn queued_bytes_are_sent_before_the_port_closes(subject: &Subject) {
        // SerialPort.loseConnection
        let (reactor, line) = (subject.reactor(), Line::new());
        let script = Script::new().stop_when_lost().on_made(|transport| {
            transport.write(&noise(50_000, 5));
            transport.lose_connection();
        });
        let device = line.device.clone();
        let open = move |reactor: &Reactor| {
            reactor.open_serial_port(&device, &SerialSettings::default(), &script.factory()).map(drop).unwrap();
        };
        reactor.call_later(Duration::ZERO, open);
        let mut other_end = line.other_end.try_clone().unwrap();
        let reader = thread::spawn(move || {
            let mut received = vec![0; 50_000];
            other_end.read_exact(&mut received).unwrap();
            received
        });
        run(&reactor);
        assert_same_bytes(&reader.join().unwrap(), &noise(50_000, 5));
    }

    fn the_end_of_a_run_waits_for_queued_bytes(subject: &Subject) {
        // A last command to the device.
        let (reactor, line) = (subject.reactor(), Line::new());
        let port = line.open(&reactor, &Script::new().factory());
        port.write(&noise(50_000, 7));
        reactor.call_later(Duration::ZERO, stop);
        let mut other_end = line.other_end.try_clone().unwrap();
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            let mut received = vec![0; 50_000];
            other_end.read_exact(&mut received).unwrap();
            received
        });
        run(&reactor);
        assert_same_bytes(&reader.join().unwrap(), &noise(50_000, 7));
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn a_callback_finds_the_port_of_its_transport(subject: &Subject) {
        // ITransport and the methods of SerialPort are one object in Twisted.
        let (reactor, line, found) = (subject.reactor(), Line::new(), Rc::new(RefCell::new(None)));
        let kept = found.clone();
        let script = Script::new().on_made(move |transport| {
            let port = transport.serial_port().expect("it is the transport of a port");
            port.set_settings(&SerialSettings::new(31_250)).unwrap();
            kept.replace(Some(port));
        });
        let port = line.open(&reactor, &script.factory());
        assert_eq!(line.settings().output_speed(), 31_250);
        assert_eq!(found.borrow().as_ref().unwrap().transport(), port.transport());
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = reactor.adopt_stream_connection(OwnedFd::from(one), &Script::new().factory()).unwrap();
        assert!(socket.serial_port().is_none());
    }

    fn an_endpoint_opens_the_port_of_its_description(subject: &Subject) {
        // IStreamClientEndpoint.connect
        let (reactor, line, log) = (subject.reactor(), Line::new(), Log::new());
        let endpoint = client_from_string(&reactor, &format!("serial:{}:speed=31250", line.device.display())).unwrap();
        let factory = Rc::new(Script::logged(&log, "client").factory());
        let transport = endpoint.connect(&reactor, factory.clone()).try_result().expect("it fires at once").unwrap();
        assert!(transport.serial_port().is_some());
        assert_eq!(line.settings().output_speed(), 31_250);
        let failure = endpoint.connect(&reactor, factory).try_result().expect("it fires at once").unwrap_err();
        assert!(failure.to_string().contains("another program uses"), "{failure}");
        log.expect(&["client made"]);
    }

    fn a_server_endpoint_serves_the_device_alone(subject: &Subject) {
        // As StandardIOEndpoint: listening makes the only connection.
        let (reactor, line, script) = (subject.reactor(), Line::new(), Script::echo());
        let endpoint = server_from_string(&reactor, &format!("serial:{}:speed=31250", line.device.display())).unwrap();
        let factory = Rc::new(script.factory());
        let port = endpoint.listen(&reactor, factory.clone()).try_result().expect("it fires at once").unwrap();
        assert!(port.only_connection().is_some_and(|connection| connection.serial_port().is_some()));
        let failure = endpoint.listen(&reactor, factory).try_result().expect("it fires at once").unwrap_err();
        assert!(failure.to_string().contains("another program uses"), "{failure}");
        let mut other_end = line.other_end;
        other_end.write_all(b"hello").unwrap();
        iterate_until(&reactor, || script.received() == b"hello");
        let mut echo = [0; 5];
        other_end.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"hello");
    }

    fn an_endpoint_without_a_protocol_closes_the_port(subject: &Subject) {
        // twisted.internet.error.NoProtocol
        let (reactor, line) = (subject.reactor(), Line::new());
        let endpoint = client_from_string(&reactor, &format!("serial:{}", line.device.display())).unwrap();
        let connected = endpoint.connect(&reactor, Rc::new(LoggingFactory::refusing(&Log::new())));
        let failure = connected.try_result().expect("it fires at once").unwrap_err();
        assert!(matches!(Error::from(failure), Error::NoProtocol));
        assert_eq!(descriptors_of(&line.device), 0);
    }

    fn a_device_without_lines_refuses_to_switch_them(subject: &Subject) {
        // tty_ioctl(4): ENOTTY. A pseudo-terminal has no lines.
        let (reactor, line) = (subject.reactor(), Line::new());
        let port = line.open(&reactor, &Script::new().factory());
        let outcomes = [port.set_dtr(true), port.set_rts(true), port.modem_lines().map(drop)];
        for error in outcomes.map(Result::unwrap_err) {
            assert!(matches!(&error, Error::Io(_, cause) if cause.kind() == ErrorKind::Unsupported), "{error}");
        }
        assert!(port.is_connected());
        drop(port);
        let settings = SerialSettings { dtr: Some(true), ..SerialSettings::default() };
        let other = Line::new();
        let error = reactor.open_serial_port(&other.device, &settings, &Script::new().factory()).unwrap_err();
        assert!(error.to_string().contains("no lines beside those of the data"), "{error}");
    }

    fn a_break_ends_after_its_duration(subject: &Subject) {
        // SerialPort.sendBreak
        let (reactor, line) = (subject.reactor(), Line::new());
        let port = line.open(&reactor, &Script::new().factory());
        let over = port.send_break(Duration::from_millis(10));
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        assert!(!over.is_done());
        reactor.call_later(Duration::from_millis(10), stop);
        run(&reactor);
        over.try_result().expect("it is over").unwrap();
        let failed = port.send_break(Duration::from_millis(10)).try_result().expect("the port is closed").unwrap_err();
        assert!(matches!(Error::from(failed), Error::Closed));
    }

    fn input_from_before_is_discarded(subject: &Subject) {
        // SerialPort.flushInput at the start: such bytes were received with other settings.
        let (reactor, line) = (subject.reactor(), Line::new());
        (&line.other_end).write_all(b"noise\n").unwrap();
        let script = Script::new();
        let port = line.open(&reactor, &script.factory());
        port.pause_producing();
        (&line.other_end).write_all(b"unwanted").unwrap();
        port.discard_input().unwrap();
        port.resume_producing();
        (&line.other_end).write_all(b"wanted").unwrap();
        iterate_until(&reactor, || !script.received().is_empty());
        assert_eq!(script.received(), b"wanted");
    }
}

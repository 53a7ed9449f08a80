//! Pipes, terminals and files as connections: ProcessReader, ProcessWriter, StandardIO. Also sockets that this process
//! was started with.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk::endpoints::{StreamServerEndpoint, server_from_string};
use ropewalk::sys::{PipeEnd, Sharing};
use ropewalk::{Address, Error, Reactor, Transport};
use rustix::fs::{OFlags, fcntl_getfl};

use crate::links::{Transports, assert_same_bytes, noise};
use crate::script::{Log, LoggingFactory, Script, reason_name, stop};
use crate::terminals::pseudo_terminal;
use crate::{run, specifications};

fn pipe() -> io::Result<(File, File)> {
    let (reading, writing) = rustix::pipe::pipe()?;
    Ok((reading.into(), writing.into()))
}

fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").expect("every Unix has it").into()
}

/// Returns the master of a new pseudo-terminal, and its other side, which changes no byte.
fn terminal() -> (OwnedFd, File) {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    let (master, slave) = usual_terminal();
    let mut settings = tcgetattr(&slave).unwrap();
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).unwrap();
    (master, slave)
}

/// Returns the master of a new pseudo-terminal, and its other side, which edits lines as a user's terminal does.
fn usual_terminal() -> (OwnedFd, File) {
    let (master, path) = pseudo_terminal();
    (master, File::options().read(true).write(true).open(path).unwrap())
}

/// Fills a terminal whose program has stopped reading, so that bytes are queued for it.
fn fill(reactor: &Reactor, transport: &Transport) {
    transport.write(&[b'x'; 300_000]);
    for _ in 0..5 {
        reactor.iterate(Some(Duration::from_millis(1))).unwrap();
    }
    assert!(transport.buffered() > 0);
}

specifications! {
    pipes;

    fn a_pipe_transport_echoes_its_input(subject: &Subject) {
        // StandardIO(proto, stdin, stdout): the end of the input is the end of the connection.
        let reactor = subject.reactor();
        let ((input, mut to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let log = Log::new();
        let script = Script::logged(&log, "stdio").on_data(Transport::write).stop_when_lost();
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        to_input.write_all(b"hello").unwrap();
        drop(to_input);
        run(&reactor);
        let mut answer = String::new();
        from_output.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        log.expect(&["stdio made", "stdio data hello", "stdio read lost", "stdio lost ConnectionDone"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_megabyte_passes_unchanged_through_slow_pipes(subject: &Subject) {
        // ProcessReader, ProcessWriter
        let (reactor, sent) = (subject.reactor(), noise(1_000_000, 7));
        let ((input, mut to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::echo().on_made(|transport| transport.register_producer(transport.clone()).unwrap());
        let script = script.on_read_lost(|transport| {
            transport.unregister_producer();
            transport.lose_connection();
        });
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        let written = sent.clone();
        let writer = thread::spawn(move || to_input.write_all(&written).unwrap());
        let handle = reactor.thread_handle();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            from_output.read_to_end(&mut received).unwrap();
            handle.call_from_thread(stop);
            received
        });
        run(&reactor);
        writer.join().unwrap();
        assert_same_bytes(&reader.join().unwrap(), &sent);
    }

    fn the_descriptors_keep_their_flags(subject: &Subject) {
        // A shell shares its terminal with its children, so they would also share O_NONBLOCK.
        let reactor = subject.reactor();
        let ((input, _to_input), (_from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let copies = [OwnedFd::from(input.try_clone().unwrap()), output.try_clone().unwrap().into()];
        reactor.adopt_pipes(input, output, &Script::new().factory()).unwrap();
        for copy in &copies {
            assert!(!fcntl_getfl(copy).unwrap().contains(OFlags::NONBLOCK));
        }
    }

    fn files_can_be_input_or_output(subject: &Subject) {
        // epoll_ctl(2): EPERM for regular files. Needed when stdio is redirected from or to a file.
        let (reactor, path) = (subject.reactor(), subject.unix_path());
        std::fs::write(&path, noise(200_000, 3)).unwrap();
        let output_path = subject.unix_path();
        let script = Script::new().on_data(Transport::write);
        let input = File::open(&path).unwrap();
        reactor.adopt_pipes(input, File::create(&output_path).unwrap(), &script.factory()).unwrap();
        let (from, to) = (path.clone(), output_path.clone());
        fn same(reactor: &ropewalk::Reactor, from: std::path::PathBuf, to: std::path::PathBuf) {
            if std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap() {
                return stop(reactor);
            }
            reactor.call_later(Duration::from_millis(1), move |reactor| same(reactor, from, to));
        }
        same(&reactor, from, to);
        run(&reactor);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(output_path).unwrap();
    }

    fn the_end_of_the_connection_closes_both_descriptors(subject: &Subject) {
        // StandardIO.loseConnection: written data is still sent.
        let (reactor, all) = (subject.reactor(), Transports::new());
        let ((input, mut to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::new().listed_in(&all).on_made(|transport| {
            transport.write(b"bye");
            transport.lose_connection();
        });
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        let handle = reactor.thread_handle();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            from_output.read_to_end(&mut received).unwrap();
            handle.call_from_thread(stop);
            received
        });
        run(&reactor);
        assert_eq!(reader.join().unwrap(), b"bye");
        assert!(!all.first().is_connected());
        assert!(to_input.write_all(b"x").is_err(), "its reader is gone");
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_output_without_a_reader_closes_the_connection(subject: &Subject) {
        // write(2): EPIPE.
        let (reactor, log) = (subject.reactor(), Log::new());
        let ((input, _to_input), (from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        drop(from_output);
        let script = Script::logged(&log, "stdio").on_made(|transport| transport.write(&[0; 1_000_000]));
        let factory = script.stop_when_lost().factory();
        // The write fails within this call.
        reactor.call_later(Duration::ZERO, move |reactor| drop(reactor.adopt_pipes(input, output, &factory).unwrap()));
        run(&reactor);
        assert_eq!(log.entries().last().unwrap(), "stdio lost ConnectionLost");
        assert_eq!(log.count("stdio made"), 1);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_failed_last_write_is_the_reason_of_the_end(subject: &Subject) {
        // full(4): ENOSPC. The close waits for the write.
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let (reactor, log, (input, _to_input)) = (subject.reactor(), Log::new(), pipe().unwrap());
        let script = Script::logged(&log, "stdio").on_made(|transport| {
            transport.write(b"bye");
            transport.lose_connection();
        });
        // The write fails within this call, so nothing runs that could be stopped.
        let transport = reactor.adopt_pipes(input, full, &script.factory()).unwrap();
        log.expect(&["stdio made", "stdio lost ConnectionLost"]);
        let lost = transport.when_lost();
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        let Error::ConnectionLost(Some(cause)) = lost.try_result().unwrap().unwrap() else { panic!("no cause") };
        assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
        assert_eq!(reactor.source_count(), 0);
    }

    fn received_bytes_are_delivered_after_a_failed_write(subject: &Subject) {
        // An answer to a full disk is still an answer.
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let (reactor, log, (input, mut to_input)) = (subject.reactor(), Log::new(), pipe().unwrap());
        to_input.write_all(b"received").unwrap();
        let script = Script::logged(&log, "stdio").stop_when_lost().on_made(|transport| {
            transport.write(b"x");
            transport.pause_producing();
            let paused = transport.clone();
            transport.reactor().call_later(Duration::from_millis(20), move |_| paused.resume_producing());
        });
        reactor.adopt_pipes(input, full, &script.factory()).unwrap();
        run(&reactor);
        log.expect(&["stdio made", "stdio data received", "stdio lost ConnectionLost"]);
    }

    fn the_end_waits_for_a_slow_output(subject: &Subject) {
        // StandardIO.loseConnection: connectionLost comes after the last write.
        let (reactor, all) = (subject.reactor(), Transports::new());
        let ((input, _to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::new().stop_when_lost().listed_in(&all).on_made(|transport| {
            transport.write(&[b'x'; 100_000]);
            transport.lose_connection();
        });
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        // Nothing is read from the output, and a pipe holds less.
        for _ in 0..20 {
            reactor.iterate(Some(Duration::from_millis(2))).unwrap();
        }
        assert!(all.first().is_connected() && all.first().is_disconnecting());
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            from_output.read_to_end(&mut received).unwrap();
            received.len()
        });
        run(&reactor);
        assert_eq!(reader.join().unwrap(), 100_000);
    }

    fn closing_one_direction_keeps_the_other_open(subject: &Subject) {
        // IHalfCloseableProtocol
        let reactor = subject.reactor();
        let ((input, mut to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::new().on_made(Transport::lose_write_connection).stop_when_lost();
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        let writer = thread::spawn(move || {
            assert_eq!(from_output.read(&mut [0]).unwrap(), 0);
            to_input.write_all(b"and out").unwrap();
        });
        run(&reactor);
        writer.join().unwrap();
        assert_eq!(script.received(), b"and out");
    }

    fn a_dropped_reactor_closes_both_descriptors(subject: &Subject) {
        // No descriptor is leaked.
        let reactor = subject.reactor();
        let ((input, mut to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        reactor.adopt_pipes(input, output, &Script::new().factory()).unwrap();
        drop(reactor);
        assert_eq!(from_output.read(&mut [0]).unwrap(), 0);
        assert!(to_input.write_all(b"x").is_err());
    }

    fn a_factory_that_builds_no_protocol_closes_both_descriptors(subject: &Subject) {
        // As with adoptStreamConnection, the connection is closed if the factory builds no protocol.
        let (reactor, (mut from_output, output)) = (subject.reactor(), pipe().unwrap());
        let outcome = reactor.adopt_pipes(null(), output, &LoggingFactory::refusing(&Log::new()));
        assert!(matches!(outcome, Err(Error::Closed)));
        assert_eq!(from_output.read(&mut [0]).unwrap(), 0);
        assert_eq!(reactor.source_count(), 0);
    }

    fn an_idle_writer_notices_that_its_reader_is_gone(subject: &Subject) {
        // ProcessWriter.doRead: a writer is watched for the end of its reader.
        let (reactor, log, (reader, writer)) = (subject.reactor(), Log::new(), pipe().unwrap());
        let script = Script::logged(&log, "writer").stop_when_lost();
        let transport =
            reactor.adopt_pipe(writer, PipeEnd::Writer, Sharing::Owned, &script.factory()).unwrap();
        let lost = transport.when_lost();
        reactor.call_later(Duration::from_millis(5), move |_| drop(reader));
        run(&reactor);
        log.expect(&["writer made", "writer lost ConnectionLost"]);
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        let Error::ConnectionLost(Some(cause)) = lost.try_result().unwrap().unwrap() else { panic!("no cause") };
        assert_eq!(cause.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(reactor.source_count(), 0);
    }

    fn received_bytes_are_delivered_after_the_output_has_no_reader(subject: &Subject) {
        // `prog | head`: the last reader of standard output leaves while the program only listens.
        let (reactor, log) = (subject.reactor(), Log::new());
        let ((input, mut to_input), (from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::logged(&log, "stdio").stop_when_lost();
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        reactor.iterate(Some(Duration::ZERO)).unwrap();
        to_input.write_all(b"received").unwrap();
        drop(from_output);
        run(&reactor);
        log.expect(&["stdio made", "stdio data received", "stdio lost ConnectionLost"]);
    }

    fn the_end_of_the_input_leaves_the_output_open(subject: &Subject) {
        // IHalfCloseableProtocol: a forwarder still waits for the answer.
        let (reactor, log) = (subject.reactor(), Log::new());
        let ((input, to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::logged(&log, "stdio").stop_when_lost().on_read_lost(|transport| {
            let later = transport.clone();
            transport.reactor().call_later(Duration::from_millis(5), move |_| {
                later.write(b"answer");
                later.lose_connection();
            });
        });
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        drop(to_input);
        run(&reactor);
        let mut received = String::new();
        from_output.read_to_string(&mut received).unwrap();
        assert_eq!(received, "answer");
        log.expect(&["stdio made", "stdio lost ConnectionDone"]);
    }

    fn a_reader_alone_drops_the_bytes_that_are_written(subject: &Subject) {
        // ProcessReader
        let (reactor, log, (reader, mut writer)) = (subject.reactor(), Log::new(), pipe().unwrap());
        let script = Script::logged(&log, "reader").stop_when_lost().on_data(Transport::write);
        reactor.adopt_pipe(reader, PipeEnd::Reader, Sharing::Owned, &script.factory()).unwrap();
        writer.write_all(b"one way").unwrap();
        drop(writer);
        run(&reactor);
        log.expect(&["reader made", "reader data one way", "reader read lost", "reader lost ConnectionDone"]);
    }

    fn a_writer_alone_ends_when_its_direction_is_closed(subject: &Subject) {
        // IHalfCloseableProtocol: no direction is left.
        let (reactor, log, (mut reader, writer)) = (subject.reactor(), Log::new(), pipe().unwrap());
        let script = Script::logged(&log, "writer").stop_when_lost().on_made(|transport| {
            transport.write(b"all");
            transport.lose_write_connection();
        });
        let adopt = move |reactor: &Reactor| {
            reactor.adopt_pipe(writer, PipeEnd::Writer, Sharing::Owned, &script.factory()).map(drop).unwrap();
        };
        reactor.call_later(Duration::ZERO, adopt);
        run(&reactor);
        let mut received = String::new();
        reader.read_to_string(&mut received).unwrap();
        assert_eq!(received, "all");
        log.expect(&["writer made", "writer write lost", "writer lost ConnectionDone"]);
    }

    fn a_full_shared_pipe_does_not_block_the_loop(subject: &Subject) {
        // Others use the same open pipe: they must never see EAGAIN, and the loop must not wait for the reader.
        let (reactor, all) = (subject.reactor(), Transports::new());
        let ((input, _to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let copy = output.try_clone().unwrap();
        let script = Script::new().listed_in(&all).stop_when_lost().on_made(|transport| {
            transport.write(&noise(500_000, 5));
        });
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        for _ in 0..5 {
            reactor.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        assert!(all.first().buffered() > 0 && all.first().is_connected());
        assert!(!fcntl_getfl(&copy).unwrap().contains(OFlags::NONBLOCK));
        drop(copy);
        all.first().lose_connection();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            from_output.read_to_end(&mut received).unwrap();
            received
        });
        run(&reactor);
        assert_same_bytes(&reader.join().unwrap(), &noise(500_000, 5));
    }

    fn the_end_of_a_run_waits_for_queued_output(subject: &Subject) {
        // A program that prints its last words and stops, into a pipe whose reader is slow.
        let reactor = subject.reactor();
        let ((input, _to_input), (mut from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::new().on_made(|transport| {
            transport.write(&[b'x'; 200_000]);
            stop(&transport.reactor());
        });
        reactor.call_later(Duration::ZERO, move |reactor| {
            drop(reactor.adopt_pipes(input, output, &script.factory()).unwrap());
        });
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            let mut received = Vec::new();
            from_output.read_to_end(&mut received).unwrap();
            received.len()
        });
        run(&reactor);
        assert_eq!(reader.join().unwrap(), 200_000);
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn null_is_an_empty_input_or_an_output_that_takes_all(subject: &Subject) {
        // `prog </dev/null >/dev/null`. epoll_ctl(2) refuses it with EPERM.
        let (reactor, log) = (subject.reactor(), Log::new());
        let script = Script::logged(&log, "stdio").stop_when_lost().on_made(|transport| {
            transport.write(&[0; 1_000_000]);
        });
        reactor.adopt_pipes(null(), null(), &script.factory()).unwrap();
        run(&reactor);
        log.expect(&["stdio made", "stdio read lost", "stdio lost ConnectionDone"]);
        assert_eq!(reactor.source_count(), 0);
    }

    fn a_terminal_delivers_everything_before_its_end(subject: &Subject) {
        // pty(7): the master reads what is left, then EIO. One read returns at most a page.
        let (reactor, log) = (subject.reactor(), Log::new());
        let (master, mut slave) = terminal();
        let script = Script::new().stop_when_lost().on_lost({
            let log = log.clone();
            move |_, reason| log.add(reason_name(reason))
        });
        reactor.adopt_pipe(master, PipeEnd::Both, Sharing::Owned, &script.factory()).unwrap();
        let writer = thread::spawn(move || slave.write_all(&noise(300_000, 9)).unwrap());
        run(&reactor);
        writer.join().unwrap();
        assert_same_bytes(&script.received(), &noise(300_000, 9));
        log.expect(&["ConnectionDone"]);
    }

    fn a_terminal_takes_only_what_its_program_reads(subject: &Subject) {
        // A terminal without a reader takes some kilobytes.
        let (reactor, all) = (subject.reactor(), Transports::new());
        let (master, slave) = terminal();
        let script = Script::new().listed_in(&all).stop_when_lost().on_made(|transport| {
            transport.write(&[b'x'; 200_000]);
        });
        reactor.adopt_pipe(master, PipeEnd::Both, Sharing::Owned, &script.factory()).unwrap();
        for _ in 0..5 {
            reactor.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        assert!(all.first().buffered() > 100_000);
        drop(slave);
        run(&reactor);
        assert!(!all.first().is_connected());
    }

    fn a_paused_queue_is_dropped_when_its_terminal_hangs_up(subject: &Subject) {
        // pty(7): without a slave the master stays full, and only the hang-up says why.
        for end in [PipeEnd::Both, PipeEnd::Writer] {
            let (reactor, log, (master, slave)) = (subject.reactor(), Log::new(), terminal());
            let script = Script::logged(&log, "master").stop_when_lost();
            let transport = reactor.adopt_pipe(master, end, Sharing::Owned, &script.factory()).unwrap();
            transport.pause_producing();
            fill(&reactor, &transport);
            drop(slave);
            run(&reactor);
            assert_eq!(log.entries().last().unwrap(), "master lost ConnectionLost");
        }
    }

    fn a_full_terminal_as_the_output_of_a_pair_is_lost_too(subject: &Subject) {
        // A hang-up makes a descriptor readable, but for select(2) not writable.
        let (reactor, log, (master, slave)) = (subject.reactor(), Log::new(), terminal());
        let (input, _to_input) = pipe().unwrap();
        let script = Script::logged(&log, "pair").stop_when_lost();
        let transport = reactor.adopt_pipes(input, master, &script.factory()).unwrap();
        fill(&reactor, &transport);
        drop(slave);
        run(&reactor);
        assert_eq!(log.entries().last().unwrap(), "pair lost ConnectionLost");
    }

    fn a_shared_terminal_that_is_not_read_does_not_block(subject: &Subject) {
        // A terminal reports room for one byte, and makes two bytes of each line feed.
        let (reactor, (master, slave)) = (subject.reactor(), usual_terminal());
        let copy = slave.try_clone().unwrap();
        let (script, line) = (Script::new(), [&[b'x'; 79][..], b"\n"].concat());
        let transport = reactor.adopt_pipes(copy, slave, &script.factory()).unwrap();
        transport.write(&line.repeat(10_000));
        for _ in 0..20 {
            reactor.iterate(Some(Duration::from_millis(1))).unwrap();
        }
        assert!(transport.buffered() > 0 && transport.is_connected());
        drop(master);
    }

    fn a_stop_leaves_later_keys_to_the_next_reader(subject: &Subject) {
        // A program that waits for a line ends without a key, and its shell gets the line that is typed later. A read
        // that waits in the system would take it.
        for is_shared_output in [true, false] {
            let (reactor, log, (master, mut slave)) = (subject.reactor(), Log::new(), usual_terminal());
            let (mut keyboard, copy) = (File::from(master), || slave.try_clone().unwrap());
            let (script, (_from_output, output)) = (Script::logged(&log, "stdio"), pipe().unwrap());
            let output = if is_shared_output { copy() } else { output };
            reactor.adopt_pipes(copy(), output, &script.factory()).unwrap();
            keyboard.write_all(b"la").unwrap();
            for _ in 0..5 {
                reactor.iterate(Some(Duration::from_millis(1))).unwrap();
            }
            let handle = reactor.thread_handle();
            let other = thread::spawn(move || handle.call_from_thread(stop));
            run(&reactor);
            other.join().unwrap();
            log.expect(&["stdio made", "stdio lost ConnectionLost"]);
            keyboard.write_all(b"ter\n").unwrap();
            let mut line = [0; 16];
            let count = slave.read(&mut line).unwrap();
            assert_eq!(&line[..count], b"later\n");
        }
    }

    fn an_endless_input_does_not_outlive_the_output(subject: &Subject) {
        // `yes | prog | head`
        let (reactor, log, (from_output, output)) = (subject.reactor(), Log::new(), pipe().unwrap());
        let lost = log.clone();
        let script = Script::new().stop_when_lost().on_lost(move |_, reason| lost.add(reason_name(reason)));
        reactor.adopt_pipes(File::open("/dev/zero").unwrap(), output, &script.factory()).unwrap();
        drop(from_output);
        run(&reactor);
        log.expect(&["ConnectionLost"]);
    }

    fn a_paused_protocol_does_not_delay_the_loss_for_ever(subject: &Subject) {
        // A forwarder whose two directions wait for each other.
        let (reactor, log) = (subject.reactor(), Log::new());
        let ((input, mut to_input), (from_output, output)) = (pipe().unwrap(), pipe().unwrap());
        let script = Script::logged(&log, "pair").stop_when_lost().on_made(Transport::pause_producing);
        reactor.adopt_pipes(input, output, &script.factory()).unwrap();
        to_input.write_all(b"never delivered").unwrap();
        drop(from_output);
        run(&reactor);
        log.expect(&["pair made", "pair lost ConnectionLost"]);
        assert!(reactor.get_delayed_calls().is_empty());
    }

    fn a_pipe_has_no_address(subject: &Subject) {
        // getsockname(2): ENOTSOCK
        let (reactor, (reader, _writer)) = (subject.reactor(), pipe().unwrap());
        let script = Script::new();
        let transport = reactor.adopt_pipe(reader, PipeEnd::Reader, Sharing::Owned, &script.factory()).unwrap();
        assert_eq!((transport.host().unwrap(), transport.peer()), (Address::Unnamed, &Address::Unnamed));
        assert!(transport.release().is_err());
        assert!(transport.is_connected());
    }

    fn an_inherited_socket_can_be_listened_on_repeatedly(subject: &Subject) {
        // fd:NUMBER. Each port has a copy, and the original stays open.
        let reactor = subject.reactor();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Address::Inet(listener.local_addr().unwrap());
        let endpoint = server_from_string(&reactor, &format!("fd:{}", listener.as_raw_fd())).unwrap();
        let listen = || endpoint.listen(&reactor, Rc::new(Script::echo().factory())).try_result().unwrap().unwrap();
        let (first, second) = (listen(), listen());
        assert_eq!((first.host().unwrap(), second.host().unwrap()), (host.clone(), host.clone()));
        first.stop_listening();
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
            stop(&transport.reactor());
        });
        reactor.connect_tcp(host.inet().unwrap(), client.factory()).unwrap();
        run(&reactor);
        assert_eq!(client.received(), b"x");
        assert!(listener.local_addr().is_ok());
    }

    fn an_endpoint_rejects_a_number_that_is_not_a_listening_socket(subject: &Subject) {
        // UnsupportedSocketType. Descriptors that are not open are rejected as well.
        let (reactor, (one, _other)) = (subject.reactor(), UnixStream::pair().unwrap());
        let file = null();
        for (number, expected) in [
            (2_000_000_000, "Bad file descriptor"),
            (one.as_raw_fd(), "does not listen"),
            (file.as_raw_fd(), "not a socket"),
        ] {
            let endpoint = server_from_string(&reactor, &format!("fd:{number}")).unwrap();
            let failure = endpoint.listen(&reactor, Rc::new(Script::new().factory())).try_result().unwrap().unwrap_err();
            let said = failure.to_string();
            assert!(said.starts_with(&format!("cannot listen on descriptor {number}: ")), "{said}");
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(reactor.source_count(), 0);
    }
}

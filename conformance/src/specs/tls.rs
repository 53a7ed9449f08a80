//! TLS on streams: data, ends and half-closes. The peer is the layer as well, or rustls by hand without a layer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk::protocols::{TlsClientFactory, TlsServerFactory, paced};
use ropewalk::tls::rustls::version::{TLS12, TLS13};
use ropewalk::tls::rustls::{AlertDescription, Error as RustlsError, SupportedProtocolVersion};
use ropewalk::tls::{ClientOptions, ServerOptions};
use ropewalk::{Error, PanicPolicy, Transport};

use crate::certificates::Pair;
use crate::foreign_tls::Foreign;
use crate::links::{Countdown, Transports, assert_same_bytes, noise};
use crate::script::{Log, Script, reason_name, stop};
use crate::tls_ends::{NAME, end_in_words, logs_end, send_last, send_one_by_one};
use crate::waiting::{after_some_turns, when};
use crate::{run, specifications};

const MEGABYTE: usize = 1024 * 1024;
const TOO_MUCH: usize = 8_000_000;
const HIGH: usize = 64 * 1024;
const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

fn foreign_client(pair: &Pair) -> Foreign {
    Foreign::client(pair.authority.foreign_client(&[&TLS13]))
}

fn foreign_server(pair: &Pair) -> Foreign {
    Foreign::server(pair.issued.foreign_server(&[&TLS13]))
}

/// Sends five bytes, and then the end of the stream without close_notify.
fn cut(foreign: &Foreign, transport: &Transport) {
    foreign.send(transport, b"5 byt");
    transport.lose_write_connection();
}

/// Closes when `count` bytes have come.
fn close_after(count: usize) -> impl Fn(&Transport, &[u8]) {
    let left = Cell::new(count);
    move |transport, data| {
        left.set(left.get() - data.len());
        if left.get() == 0 {
            transport.lose_connection();
        }
    }
}

/// A client by hand that holds its last handshake message back, and passes it with `hello` and close_notify to `send`.
fn late_client(foreign: &Foreign, send: impl Fn(&Transport, Vec<u8>) + 'static) -> Script {
    let (first, then) = (foreign.clone(), foreign.clone());
    Script::new().on_made(move |transport| first.flush(transport)).on_data(move |transport, records| {
        then.feed(records);
        if then.is_open() && !then.connection().wants_write() {
            return;
        }
        if then.is_open() {
            then.write(b"hello");
            then.close();
            send(transport, then.take_records());
        }
    })
}

specifications! {
    tls;

    fn data_arrives_in_both_directions(subject: &Subject) {
        // connection_made comes first, and may write. layer_opened comes before the first byte.
        let (pair, log, sent) = (Pair::new(), Log::new(), noise(MEGABYTE, 40));
        let echo = Script::tls_logged(&Log::new(), "server").on_data(Transport::write);
        let (bytes, opened, data) = (sent.clone(), log.clone(), log.clone());
        let client = Script::new()
            .on_made(move |transport| transport.write(&bytes))
            .on_opened(move |transport| {
                assert_eq!(transport.with_tls(ropewalk::tls::TlsLayer::is_resumed), Some(false));
                opened.add("opened");
            })
            .on_data(move |_, _| data.add("data"))
            .on_data(close_after(MEGABYTE))
            .on_lost(logs_end(&log, "client"));
        subject.converse_tls(&pair, &echo, &client);
        assert_same_bytes(&client.received(), &sent);
        assert_eq!(log.entries()[..2], ["opened", "data"]);
        assert_eq!(log.entries().last().unwrap(), "client ConnectionDone");
    }

    fn a_stream_cut_without_close_notify_is_truncated(subject: &Subject) {
        // RFC 8446, section 6.1: an attacker can cut the stream, so such an end is an error.
        let (pair, log) = (Pair::new(), Log::new());
        let server = Script::tls_logged(&log, "server").on_lost(|_, reason| {
            assert!(reason.to_string().ends_with("ended without close_notify, so bytes may be missing"), "{reason}");
            let Error::ConnectionLost(Some(error)) = reason else { panic!("{reason}") };
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        });
        subject.serve_tls(&pair.server, &server, &foreign_client(&pair).script(cut));
        log.expect(&["server opened", "server data 5 byt", "server Truncated"]);
    }

    fn a_client_notices_a_truncation(subject: &Subject) {
        let (pair, log) = (Pair::new(), Log::new());
        let client = Script::tls_logged(&log, "client");
        subject.visit_tls(&pair.client, &foreign_server(&pair).script(cut), &client);
        log.expect(&["client opened", "client data 5 byt", "client Truncated"]);
    }

    fn a_truncation_is_an_end_for_those_that_accept_it(subject: &Subject) {
        // accept_truncation, for protocols whose messages carry their length.
        let (server, client) = (ServerOptions::new().accept_truncation(), ClientOptions::new().accept_truncation());
        let (pair, log) = (Pair::of(server, client), Log::new());
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &foreign_client(&pair).script(cut));
        log.expect(&["server opened", "server data 5 byt", "server read lost", "server ConnectionDone"]);
        let log = Log::new();
        subject.visit_tls(&pair.client, &foreign_server(&pair).script(cut), &Script::tls_logged(&log, "client"));
        log.expect(&["client opened", "client data 5 byt", "client read lost", "client ConnectionDone"]);
    }

    fn an_end_within_the_handshake_is_an_error(subject: &Subject) {
        // Also for those that accept a truncation, because the peer is not known yet.
        let server = ServerOptions::new().accept_truncation();
        let (pair, log) = (Pair::of(server, ClientOptions::new()), Log::new());
        let hello = foreign_client(&pair);
        let client = Script::new().on_made(move |transport| {
            hello.flush(transport);
            transport.lose_write_connection();
        });
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
        log.expect(&["server ClosedInHandshake"]);
    }

    fn a_megabyte_leaves_before_the_end(subject: &Subject) {
        // ITransport.loseConnection: all data, close_notify, then the end of the stream.
        let (pair, log, sent) = (Pair::new(), Log::new(), noise(MEGABYTE, 41));
        let server = Script::sends(sent.clone()).on_lost(logs_end(&log, "server"));
        let client = Script::new().on_lost(logs_end(&log, "client"));
        subject.converse_tls(&pair, &server, &client);
        assert_same_bytes(&client.received(), &sent);
        assert_eq!((log.count("server ConnectionDone"), log.count("client ConnectionDone")), (1, 1));
        let foreign = foreign_client(&pair);
        subject.serve_tls(&pair.server, &server, &foreign.script(|_, _| {}));
        assert_same_bytes(&foreign.received(), &sent);
        assert!(foreign.has_ended());
        let foreign = foreign_server(&pair);
        subject.visit_tls(&pair.client, &foreign.script(|_, _| {}), &server);
        assert_same_bytes(&foreign.received(), &sent);
        assert!(foreign.has_ended());
        assert_eq!(log.count("server ConnectionDone"), 3);
    }

    fn a_peer_that_never_answers_the_close_holds_nothing_up(subject: &Subject) {
        // The end is reported when close_notify has been sent. The socket lingers, and the end of the run closes it.
        let (pair, log, reactor) = (Pair::new(), Log::new(), subject.reactor());
        let server = Script::sends(b"x".to_vec()).on_lost(logs_end(&log, "server"));
        let foreign = foreign_client(&pair);
        let client = foreign.script(|_, _| {}).on_read_lost(|_| {});
        let port = subject.listen_tls(&reactor, &pair.server, &server);
        subject.connect(&reactor, &port, client.factory());
        let ended = log.clone();
        when(&reactor, move || foreign.has_ended() && ended.contains("server ConnectionDone"), |reactor| {
            assert_eq!(reactor.lingering_count(), 1);
            stop(reactor);
        });
        run(&reactor);
        assert_eq!(reactor.lingering_count(), 0);
    }

    fn a_half_close_is_close_notify_without_an_end(subject: &Subject) {
        // loseWriteConnection: the peer can still answer, and may still need answers to its key updates.
        let (pair, log, sent) = (Pair::new(), Log::new(), noise(MEGABYTE, 42));
        let client = Script::new().on_made(|transport| {
            transport.write(b"question");
            transport.lose_write_connection();
        });
        let client = client.on_lost(logs_end(&log, "client"));
        let foreign = foreign_server(&pair);
        let (ended, asked, answer, is_asked) = (log.clone(), foreign.clone(), sent.clone(), Cell::new(false));
        let seen = log.clone();
        let server = foreign.script(|_, _| {}).on_data(move |transport, _| {
            if !asked.has_ended() || is_asked.replace(true) {
                return;
            }
            seen.add("close_notify");
            let (asked, answer, later, log) = (asked.clone(), answer.clone(), transport.clone(), seen.clone());
            after_some_turns(&transport.reactor(), move |_| {
                log.add("answers");
                send_last(&asked, &later, &answer);
            });
        });
        let server = server.on_read_lost(move |transport| {
            ended.add("end of the stream");
            transport.lose_connection();
        });
        subject.visit_tls(&pair.client, &server, &client);
        assert_same_bytes(&client.received(), &sent);
        assert_eq!(foreign.received(), b"question");
        log.expect(&["close_notify", "answers", "client ConnectionDone", "end of the stream"]);
    }

    fn either_end_may_half_close_first(subject: &Subject) {
        let (pair, sent) = (Pair::new(), noise(MEGABYTE, 43));
        let log = Log::new();
        let asks = Script::new().on_made(|transport| {
            transport.write(b"question");
            transport.lose_write_connection();
        });
        let written = log.clone();
        let asks = asks.on_write_lost(move |_| written.add("write lost")).on_lost(logs_end(&log, "asking"));
        let answer = sent.clone();
        let answers = Script::new().on_read_lost(move |transport| {
            transport.write(&answer);
            transport.lose_connection();
        });
        let answers = answers.on_lost(logs_end(&log, "answering"));
        subject.converse_tls(&pair, &answers, &asks);
        assert_same_bytes(&asks.received(), &sent);
        assert_eq!(answers.received(), b"question");
        subject.converse_tls(&pair, &asks, &answers);
        assert_eq!((asks.received().len(), answers.received().len()), (2 * MEGABYTE, 16));
        for entry in ["write lost", "asking ConnectionDone", "answering ConnectionDone"] {
            assert_eq!(log.count(entry), 2, "{:?}", log.entries());
        }
    }

    fn a_half_closed_connection_can_be_closed(subject: &Subject) {
        // loseConnection after loseWriteConnection. close_notify is sent only once.
        let (pair, log) = (Pair::new(), Log::new());
        let client = Script::new().on_made(|transport| transport.write(b"x")).on_opened(|transport| {
            transport.lose_write_connection();
            let later = transport.clone();
            after_some_turns(&transport.reactor(), move |_| later.lose_connection());
        });
        let client = client.on_lost(logs_end(&log, "client"));
        let server = Script::new().on_read_lost(|_| {}).on_lost(logs_end(&log, "server"));
        let (reactor, ended) = (subject.reactor(), log.clone());
        let servers = Transports::new();
        subject.join_tls(&reactor, &pair, &server.clone().listed_in(&servers), &client);
        when(&reactor, move || ended.contains("client ConnectionDone"), move |_| servers.first().lose_connection());
        let ended = log.clone();
        when(&reactor, move || ended.entries().len() == 2, stop);
        run(&reactor);
        assert_eq!(server.received(), b"x");
        log.expect(&["client ConnectionDone", "server ConnectionDone"]);
    }

    fn a_client_that_only_reads_completes_its_handshake(subject: &Subject) {
        // Bytes of the handshake leave without a write of the protocol. With TLS 1.2 the server speaks last, with 1.3
        // the client.
        for versions in VERSIONS {
            let (pair, log) = (Pair::new(), Log::new());
            let foreign = Foreign::server(pair.issued.foreign_server(versions));
            let server = foreign.script(|foreign, transport| send_last(foreign, transport, b"greeting"));
            subject.visit_tls(&pair.client, &server, &Script::tls_logged(&log, "client"));
            log.expect(&["client opened", "client data greeting", "client read lost", "client ConnectionDone"]);
        }
    }

    fn a_server_may_speak_first(subject: &Subject) {
        for versions in VERSIONS {
            let (pair, log) = (Pair::new(), Log::new());
            let server = Script::tls_logged(&log, "server").on_made(|transport| transport.write(b"greeting"));
            let foreign = Foreign::client(pair.authority.foreign_client(versions));
            let client = foreign.script(|_, _| {});
            let (reader, is_closed) = (foreign.clone(), Cell::new(false));
            let client = client.on_data(move |transport, _| {
                if !reader.received().is_empty() && !is_closed.replace(true) {
                    send_last(&reader, transport, b"");
                }
            });
            subject.serve_tls(&pair.server, &server, &client);
            assert_eq!(foreign.received(), b"greeting");
            log.expect(&["server opened", "server read lost", "server ConnectionDone"]);
        }
    }

    fn a_handshake_may_come_with_data_in_one_segment(subject: &Subject) {
        // The last handshake message, the data and close_notify in one segment.
        for versions in VERSIONS {
            let (pair, log) = (Pair::new(), Log::new());
            let foreign = Foreign::client(pair.authority.foreign_client(versions));
            let client = late_client(&foreign, |transport, records| transport.write(&records));
            // With TLS 1.2 the client completes its handshake after the server.
            let client = if versions[0].version == TLS12.version {
                foreign.script(|foreign, transport| send_last(foreign, transport, b"hello"))
            } else {
                client
            };
            subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
            log.expect(&["server opened", "server data hello", "server read lost", "server ConnectionDone"]);
        }
    }

    fn a_handshake_may_come_byte_by_byte(subject: &Subject) {
        let (pair, log) = (Pair::new(), Log::new());
        let client = late_client(&foreign_client(&pair), send_one_by_one);
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
        let entries = log.entries();
        assert_eq!(entries[0], "server opened");
        assert_eq!(entries[1..].concat(), "server data helloserver read lostserver ConnectionDone");
    }

    fn a_client_may_leave_without_reading(subject: &Subject) {
        // The server's tickets cannot be delivered any more. The server gets all data and an orderly end.
        let (pair, log) = (Pair::new(), Log::new());
        let client = Script::sends(b"x".to_vec()).on_lost(logs_end(&log, "client"));
        let server = Script::tls_logged(&log, "server");
        subject.converse_tls(&pair, &server, &client);
        let entries: Vec<String> = log.entries().into_iter().filter(|entry| entry.starts_with("server")).collect();
        assert_eq!(entries, ["server opened", "server data x", "server read lost", "server ConnectionDone"]);
        assert!(log.contains("client ConnectionDone"));
    }

    fn clear_bytes_leave_before_the_handshake(subject: &Subject) {
        // A queue for a slow peer, and start_tls at once. Bytes of handles from before are protected as well.
        let (pair, clear) = (Pair::new(), noise(10_000_000, 44));
        let (bytes, tls) = (clear.clone(), pair.server.clone());
        let server = Script::new().on_made(move |transport| {
            let old = transport.clone();
            transport.write(&bytes);
            transport.start_tls(tls.layer()).unwrap();
            old.write(b"hidden");
        });
        let (all, tls, count) = (Rc::new(RefCell::new(Vec::new())), pair.client.clone(), clear.len());
        let received = all.clone();
        let client = Script::slow_reader().on_data(move |transport, data| {
            received.borrow_mut().extend_from_slice(data);
            if received.borrow().len() == count {
                transport.start_tls(tls.layer(NAME).unwrap()).unwrap();
            }
            if received.borrow().len() > count {
                transport.lose_connection();
            }
        });
        subject.converse(&server, &client);
        assert_same_bytes(&all.borrow()[..count], &clear);
        assert_eq!(all.borrow()[count..], *b"hidden");
    }

    fn tls_may_start_outside_a_callback(subject: &Subject) {
        // ITLSTransport.startTLS
        let (pair, reactor, ends) = (Pair::new(), subject.reactor(), Countdown::new(2));
        let server = Script::echo().counted_by(&ends);
        let client = Script::new().on_data(close_after(5)).counted_by(&ends);
        let tls = (pair.server.clone(), pair.client.clone());
        subject.join_and(&reactor, &server, &client, move |server, client| {
            client.start_tls(tls.1.layer(NAME).unwrap()).unwrap();
            client.write(b"hello");
            server.start_tls(tls.0.layer()).unwrap();
        });
        run(&reactor);
        assert_eq!((server.received(), client.received()), (b"hello".to_vec(), b"hello".to_vec()));
    }

    fn tls_cannot_start_twice(subject: &Subject) {
        // Nor after the end of the connection.
        let (pair, log) = (Pair::new(), Log::new());
        let (tls, refused) = (pair.server.clone(), log.clone());
        let server = Script::new().on_opened(move |transport| {
            let error = transport.start_tls(tls.layer()).unwrap_err();
            refused.add(reason_name(&error));
            transport.lose_connection();
        });
        let (tls, refused) = (pair.server.clone(), log.clone());
        let server = server.on_lost(move |transport, _| {
            refused.add(reason_name(&transport.start_tls(tls.layer()).unwrap_err()));
        });
        subject.converse_tls(&pair, &server, &Script::new());
        log.expect(&["Io", "Closed"]);
        assert_eq!(pair.server.handshakes(), 0);
    }

    fn a_paused_protocol_gets_no_data(subject: &Subject) {
        // IPushProducer: the handshake completes, and the data waits. The sender's queue grows meanwhile.
        let (pair, reactor, ends) = (Pair::new(), subject.reactor(), Countdown::new(2));
        let (servers, clients, sent) = (Transports::new(), Transports::new(), noise(TOO_MUCH, 45));
        let server = Script::sends(sent.clone()).listed_in(&servers).counted_by(&ends);
        let log = Log::new();
        let opened = log.clone();
        let client = Script::new().on_made(Transport::pause_producing).listed_in(&clients).counted_by(&ends);
        let client = client.on_opened(move |_| opened.add("opened"));
        subject.join_tls(&reactor, &pair, &server, &client);
        let (opened, reader) = (log.clone(), client.clone());
        when(&reactor, move || opened.contains("opened"), move |_| {
            assert!(servers.first().buffered() > HIGH);
            assert!(reader.received().is_empty());
            clients.first().resume_producing();
        });
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
    }

    fn a_paced_connection_is_bounded(subject: &Subject) {
        // The queue towards a peer that does not read stays short, in plain and in protected bytes together.
        let (pair, reactor, ends) = (Pair::new(), subject.reactor(), Countdown::new(2));
        let (sent, most, clients) = (noise(TOO_MUCH, 46), Rc::new(Cell::new(0)), Transports::new());
        let highest = most.clone();
        let server = Script::echo().counted_by(&ends).on_data(move |transport, _| {
            highest.set(highest.get().max(transport.buffered()));
        });
        let bytes = sent.clone();
        let client = Script::new().listed_in(&clients).counted_by(&ends).on_opened(move |transport| {
            transport.pause_producing();
            transport.write(&bytes);
        });
        let client = client.on_data(close_after(TOO_MUCH));
        let port = subject.listen(&reactor, TlsServerFactory::new(paced(server.factory()), &pair.server));
        subject.connect(&reactor, &port, TlsClientFactory::new(client.factory(), &pair.client, NAME));
        let full = most.clone();
        when(&reactor, move || full.get() > HIGH, move |_| clients.first().resume_producing());
        run(&reactor);
        assert_same_bytes(&client.received(), &sent);
        assert!(most.get() <= 4 * HIGH, "{} bytes were queued", most.get());
    }

    fn an_abort_sends_neither_data_nor_close_notify(subject: &Subject) {
        // ITCPTransport.abortConnection
        let (pair, log) = (Pair::new(), Log::new());
        let server = Script::new().on_data(|transport, _| {
            transport.write(b"never sent");
            transport.abort_connection();
        });
        let foreign = foreign_client(&pair);
        let client = foreign.script(|foreign, transport| foreign.send(transport, b"x"));
        subject.serve_tls(&pair.server, &server.on_lost(logs_end(&log, "server")), &client);
        assert!(foreign.received().is_empty() && !foreign.has_ended());
        log.expect(&["server ConnectionAborted"]);
    }

    fn a_panic_when_tls_opens_closes_the_connection(subject: &Subject) {
        // The loop continues. The peer cannot take the end for an orderly one.
        let (pair, log, reactor) = (Pair::new(), Log::new(), subject.plain_reactor());
        reactor.set_panic_policy(PanicPolicy::Log);
        let ends = Countdown::new(2);
        let server = Script::new().on_opened(|_| panic!("on purpose")).on_lost(logs_end(&log, "server"));
        let client = Script::new().on_lost(logs_end(&log, "client"));
        subject.join_tls(&reactor, &pair, &server.counted_by(&ends), &client.counted_by(&ends));
        run(&reactor);
        assert!(log.contains("server Panicked") && !log.contains("client ConnectionDone"), "{:?}", log.entries());
        assert_eq!(pair.server.handshakes(), 0);
    }

    fn a_damaged_record_is_answered_with_an_alert(subject: &Subject) {
        // RFC 8446, section 5.2. The reason and the alert name the fault, also after a long damaged rest.
        let (pair, log) = (Pair::new(), Log::new());
        let foreign = foreign_client(&pair);
        let client = foreign.script(|foreign, transport| {
            foreign.send(transport, b"before");
            let mut record = vec![23, 3, 3, 0, 64];
            record.extend([7; 64]);
            transport.write(&record);
            transport.write(&noise(500_000, 47));
        });
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
        log.expect(&["server opened", "server data before", "server protocol DecryptError"]);
        assert_eq!(foreign.failed(), Some(RustlsError::AlertReceived(AlertDescription::BadRecordMac)));
    }

    fn a_damaged_record_behind_a_half_close_is_an_error(subject: &Subject) {
        // The end is not a panic: a peer decides what it sends.
        let (pair, log, reactor) = (Pair::new(), Log::new(), subject.plain_reactor());
        let foreign = foreign_client(&pair);
        let server = Script::new().on_opened(Transport::lose_write_connection).on_lost(logs_end(&log, "server"));
        let (reader, is_sent) = (foreign.clone(), Cell::new(false));
        let client = foreign.script(|_, _| {}).on_data(move |transport, _| {
            if reader.has_ended() && !is_sent.replace(true) {
                let mut record = vec![23, 3, 3, 0, 64];
                record.extend([7; 64]);
                transport.write(&record);
            }
        });
        let ends = Countdown::new(2);
        let port = subject.listen_tls(&reactor, &pair.server, &server.counted_by(&ends));
        subject.connect(&reactor, &port, client.counted_by(&ends).factory());
        run(&reactor);
        assert!(log.entries()[0].starts_with("server protocol"), "{:?}", log.entries());
    }

    fn bytes_behind_close_notify_are_ignored(subject: &Subject) {
        // RFC 8446, section 6.1: any data received after a closure alert must be ignored.
        let (pair, log) = (Pair::new(), Log::new());
        let client = foreign_client(&pair).script(|foreign, transport| {
            send_last(foreign, transport, b"x");
            transport.write(&noise(200_000, 48));
        });
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
        log.expect(&["server opened", "server data x", "server read lost", "server ConnectionDone"]);
    }

    fn a_flood_of_key_updates_is_cut_off(subject: &Subject) {
        // RFC 8446, section 4.6.3: each update makes the other side derive keys. Updates without data have no use.
        let (pair, log) = (Pair::new(), Log::new());
        let client = foreign_client(&pair).script(|foreign, transport| {
            for _ in 0..100 {
                foreign.update_keys();
                foreign.flush(transport);
            }
        });
        subject.serve_tls(&pair.server, &Script::tls_logged(&log, "server"), &client);
        log.expect(&["server opened", "server protocol PeerMisbehaved(TooManyKeyUpdateRequests)"]);
    }

    fn key_updates_between_data_have_one_answer(subject: &Subject) {
        // An update each megabyte. Answers do not pile up, although this side sends nothing for 20 MB.
        let (pair, most, left) = (Pair::new(), Rc::new(Cell::new(0)), Rc::new(Cell::new(20 * MEGABYTE)));
        let highest = most.clone();
        let server = Script::new().on_opened(|transport| transport.write(b"ready")).on_data(move |transport, data| {
            highest.set(highest.get().max(transport.buffered()));
            left.set(left.get() - data.len());
            if left.get() == 0 {
                transport.write(b"thanks");
                transport.lose_connection();
            }
        });
        let foreign = foreign_client(&pair);
        let client = foreign.script(|foreign, transport| {
            let megabyte = noise(MEGABYTE, 49);
            for _ in 0..20 {
                foreign.update_keys();
                foreign.send(transport, &megabyte);
            }
        });
        subject.serve_tls(&pair.server, &server, &client);
        assert_eq!((foreign.received(), foreign.failed()), (b"readythanks".to_vec(), None));
        assert!(foreign.has_ended());
        assert!(most.get() < 200, "{} bytes were queued", most.get());
    }

    fn close_notify_follows_the_answer_to_a_key_update(subject: &Subject) {
        // The answer was protected with the old keys, and close_notify is with the new ones.
        let pair = Pair::new();
        let foreign = foreign_client(&pair);
        let client = foreign.script(|foreign, transport| {
            foreign.update_keys();
            foreign.send(transport, b"x");
        });
        let server = Script::new().on_data(|transport, _| transport.lose_connection());
        subject.serve_tls(&pair.server, &server, &client);
        assert!(foreign.has_ended() && foreign.failed().is_none(), "{:?}", foreign.failed());
    }

    fn three_hundred_handshakes_leave_nothing(subject: &Subject) {
        // Neither connections nor timers, nor places of handshakes in progress.
        let (pair, reactor) = (Pair::new(), subject.reactor());
        let server = Script::new().on_data(|transport, _| {
            transport.write(b"y");
            transport.lose_connection();
        });
        let port = subject.listen_tls(&reactor, &pair.server, &server);
        let client = Script::sends(b"x".to_vec()).on_lost(|_, reason| assert_eq!(end_in_words(reason), "ConnectionDone"));
        let (left, started) = (Rc::new(Cell::new(300)), Rc::new(Cell::new(20)));
        let (again, reached, subject_again, tls) = (started.clone(), port.clone(), *subject, pair.client.clone());
        let counted = Rc::new(RefCell::new(None::<Script>));
        let (next, ended) = (counted.clone(), left.clone());
        *counted.borrow_mut() = Some(client.on_lost(move |transport, _| {
            ended.set(ended.get() - 1);
            if again.get() < 300 {
                again.set(again.get() + 1);
                let script = next.borrow().clone().expect("it is set");
                subject_again.connect_tls(&transport.reactor(), &reached, &tls, &script);
            }
        }));
        let script = counted.borrow().clone().expect("it is set");
        (0..started.get()).for_each(|_| drop(subject.connect_tls(&reactor, &port, &pair.client, &script)));
        when(&reactor, move || left.get() == 0, |reactor| {
            when(reactor, { let reactor = reactor.clone(); move || reactor.source_count() == 1 }, |reactor| {
                reactor.when_none_linger().add_callback({ let reactor = reactor.clone(); move |()| stop(&reactor) });
            });
        });
        run(&reactor);
        counted.take();
        assert_eq!((server.received().len(), pair.server.handshakes()), (300, 0));
        assert!(reactor.get_delayed_calls().is_empty(), "{:?}", reactor.get_delayed_calls());
    }
}

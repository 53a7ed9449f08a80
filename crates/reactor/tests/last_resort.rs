//! A program without a log: its errors go to standard error, once for each kind.

use std::process::Command;
use std::rc::Rc;

use ropewalk::application::{MultiService, Service, ServiceHandle};
use ropewalk::endpoints::server_from_string;
use ropewalk::testing::{AccumulatingProtocol, MemoryReactor};
use ropewalk::{Deferred, Error, Failure, Reactor, fail};

struct Broken;

impl Service for Broken {
    fn start(&self, _reactor: &Reactor) -> Deferred<()> {
        fail(Failure::new("no database"))
    }
}

/// The program, which [`errors_reach_standard_error_without_a_subscriber`] starts. It installs no subscriber.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn program_without_a_subscriber() {
    let net = MemoryReactor::new();
    let _taken = net.listen_stream("10.0.0.1:80").unwrap();
    for _ in 0..3 {
        let server = server_from_string(&net, "tcp:80:interface=10.0.0.1").unwrap();
        drop(server.listen(&net, Rc::new(AccumulatingProtocol::new().factory())));
        drop(net.spawn(async { Err::<(), _>(Error::Closed) }));
        net.settle();
    }
    let services = MultiService::new();
    drop(ServiceHandle::new(services.clone()).start(&net));
    services.add(Broken);
}

#[test]
fn errors_reach_standard_error_without_a_subscriber() {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--ignored", "--exact", "program_without_a_subscriber", "--nocapture"]);
    let errors = String::from_utf8(program.output().unwrap().stderr).unwrap();
    let lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("ropewalk: ")).collect();
    let [listening, task, service] = lines[..] else { panic!("{errors}") };
    assert!(listening.contains("unhandled error in a Deferred error=cannot listen on 10.0.0.1:80"), "{listening}");
    assert!(listening.contains("install a tracing subscriber"), "{listening}");
    let place = format!("at={}:", file!());
    assert!(task.contains("a task failed error=already closed at=") && task.contains(&place), "{task}");
    assert!(service.contains("cannot start") && service.contains("no database"), "{service}");
}

//! Abstract UNIX names, which only Linux has: unix(7).

use std::path::Path;

use ropewalk::{Address, Error, UnixBinding};

use crate::script::{Script, stop};
use crate::{Subject, run, specifications};

/// Returns an unused name, with its leading `@`.
fn name(subject: &Subject) -> String {
    format!("@{}", subject.unix_path().display())
}

specifications! {
    unix_abstract;

    fn an_abstract_name_needs_no_file(subject: &Subject) {
        // IReactorUNIX.listenUNIX: a leading NUL means an abstract name. There is no chmod, unlink or lock.
        let (reactor, name) = (subject.reactor(), name(subject));
        for spelling in [name.clone(), name.replacen('@', "\0", 1)] {
            let binding = UnixBinding::new(&name).mode(0o600).lock();
            let port = reactor.listen_unix(binding, Script::echo().factory()).unwrap();
            assert_eq!(port.host().unwrap(), Address::Abstract(name.as_bytes()[1..].into()));
            assert!(!Path::new(&name).exists() && !Path::new(&name[1..]).exists());
            assert!(!Path::new(&format!("{}.lock", &name[1..])).exists());
            let client = Script::new().on_made(|transport| transport.write(b"x")).on_data(|transport, _| {
                stop(&transport.reactor());
            });
            reactor.connect_unix(&spelling, client.factory()).unwrap();
            run(&reactor);
            assert_eq!(client.received(), b"x");
        }
    }

    fn listening_on_a_used_abstract_name_is_an_error(subject: &Subject) {
        // CannotListenError. The name is free after its server has stopped.
        let (reactor, name) = (subject.reactor(), name(subject));
        let port = reactor.listen_unix(&name, Script::new().factory()).unwrap();
        let error = reactor.listen_unix(&name, Script::new().factory()).unwrap_err();
        assert!(matches!(error, Error::CannotListen(Address::Abstract(_), _)), "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
        let again = reactor.clone();
        port.stop_listening().add_callback(move |()| {
            again.listen_unix(&name, Script::new().factory()).unwrap();
            stop(&again);
        });
        run(&reactor);
    }
}

//! Methods that a wrapping factory or protocol forwards unchanged.

/// Implements the methods of a factory that wraps another one in its field `factory`. A factory that counts connections
/// writes its own `reserve`.
macro_rules! forward_factory {
    () => {
        $crate::protocols::forward::forward_factory!(reserve);
        $crate::protocols::forward::forward_factory!(is_paced);
        $crate::protocols::forward::forward_factory!(users);
    };
    (but reserve) => {
        $crate::protocols::forward::forward_factory!(is_paced);
        $crate::protocols::forward::forward_factory!(users);
    };
    (but is_paced) => {
        $crate::protocols::forward::forward_factory!(reserve);
        $crate::protocols::forward::forward_factory!(users);
    };
    (reserve) => {
        fn reserve(&self) -> Option<Box<dyn ::std::any::Any>> {
            self.factory.reserve()
        }
    };
    (is_paced) => {
        fn is_paced(&self) -> bool {
            self.factory.is_paced()
        }
    };
    (users) => {
        fn start_factory(&self) {
            self.factory.start_factory();
        }

        fn stop_factory(&self) {
            self.factory.stop_factory();
        }

        fn accept_failed(&self, reason: &$crate::error::Error) {
            self.factory.accept_failed(reason);
        }
    };
}

macro_rules! forward_client_factory {
    ($wrapper:ident) => {
        impl<F: ClientFactory> ClientFactory for $wrapper<F> {
            fn started_connecting(&self, connector: &Connector) {
                self.factory.started_connecting(connector);
            }

            fn client_connection_failed(&self, connector: &Connector, reason: &Error) {
                self.factory.client_connection_failed(connector, reason);
            }

            fn client_connection_lost(&self, connector: &Connector, reason: &Error) {
                self.factory.client_connection_lost(connector, reason);
            }
        }
    };
}

/// Implements the methods of a protocol that wraps another one in its field `inner`, and only acts at the start and the
/// end.
macro_rules! forward_conversation {
    () => {
        fn layer_opened(&mut self, transport: &$crate::transports::Transport) {
            self.inner.layer_opened(transport);
        }

        $crate::protocols::forward::forward_conversation!(but layer_opened);
    };
    (but layer_opened) => {
        fn data_received(&mut self, transport: &$crate::transports::Transport, data: &[u8]) {
            self.inner.data_received(transport, data);
        }

        fn chunk_received(&mut self, transport: &$crate::transports::Transport, chunk: ::bytes::Bytes) {
            self.inner.chunk_received(transport, chunk);
        }

        fn buffered(&mut self) -> Option<&mut dyn $crate::protocols::BufferedProtocol> {
            self.inner.buffered()
        }

        fn file_descriptor_receiver(&mut self) -> Option<&mut dyn $crate::protocols::FileDescriptorReceiver> {
            self.inner.file_descriptor_receiver()
        }

        fn read_connection_lost(&mut self, transport: &$crate::transports::Transport) {
            self.inner.read_connection_lost(transport);
        }

        fn write_connection_lost(&mut self, transport: &$crate::transports::Transport) {
            self.inner.write_connection_lost(transport);
        }

        fn log_prefix(&self) -> &'static str {
            self.inner.log_prefix()
        }
    };
}

pub(crate) use {forward_client_factory, forward_conversation, forward_factory};

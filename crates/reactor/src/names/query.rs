//! A question to a name server, and the messages that answer it.

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};

/// A question with its identifier: RFC 1035, section 4.1.
pub(super) struct Asked {
    id: u16,
    question: Query,
    bytes: Vec<u8>,
}

impl Asked {
    pub(super) fn new(id: u16, question: Query) -> Result<Asked, ProtoError> {
        let mut message = Message::new();
        message.set_id(id).set_message_type(MessageType::Query).set_op_code(OpCode::Query).set_recursion_desired(true);
        let bytes = message.add_query(question.clone()).to_vec()?;
        Ok(Asked { id, question, bytes })
    }

    /// Returns the message to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses `data` if it answers this question: RFC 5452, section 9.1. The caller has checked the sender.
    pub(super) fn answer(&self, data: &[u8]) -> Option<Message> {
        // A forger has to try many identifiers, so a wrong one costs no more than this comparison.
        if data.get(..2)? != self.id.to_be_bytes() {
            return None;
        }
        let message = Message::from_vec(data).ok()?;
        let answers = match message.queries() {
            [question] => *question == self.question,
            // A server that does not understand the question may leave it out.
            [] => !matches!(message.response_code(), ResponseCode::NoError | ResponseCode::NXDomain),
            _ => false,
        };
        let is_response = message.message_type() == MessageType::Response && message.op_code() == OpCode::Query;
        (answers && is_response).then_some(message)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn question(name: &str) -> Query {
        Query::query(Name::from_ascii(name).unwrap(), RecordType::A)
    }

    fn asked() -> Asked {
        Asked::new(7, question("host.example.")).unwrap()
    }

    /// Returns whether a message is taken that differs from an answer by `change`.
    fn is_taken(change: impl FnOnce(&mut Message) -> &mut Message) -> bool {
        let asked = asked();
        let mut message = Message::from_vec(asked.bytes()).unwrap();
        message.set_message_type(MessageType::Response);
        asked.answer(&change(&mut message).to_vec().unwrap()).is_some()
    }

    fn without_question(message: &mut Message) -> &mut Message {
        message.queries_mut().clear();
        message
    }

    fn asking_for<'a>(message: &'a mut Message, name: &str) -> &'a mut Message {
        without_question(message).add_query(question(name))
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        assert!(is_taken(|message| message));
        assert!(is_taken(|message| asking_for(message, "HOST.example.")), "letters in either case");
        assert!(!is_taken(|message| asking_for(message, "other.example.")));
        assert!(!is_taken(|message| message.set_id(8)));
        assert!(!is_taken(|message| message.set_message_type(MessageType::Query)));
        assert!(!is_taken(|message| message.set_op_code(OpCode::Notify)));
        assert!(!is_taken(|message| message.add_query(question("host.example."))));
    }

    #[test]
    fn an_error_may_leave_the_question_out() {
        assert!(!is_taken(without_question));
        assert!(is_taken(|message| without_question(message).set_response_code(ResponseCode::FormErr)));
    }

    #[test]
    fn garbage_answers_nothing() {
        let asked = asked();
        for data in [&b""[..], &[0], &[0, 7], &[0, 7, 0xff, 0xff, 0xff], &[0xff; 600]] {
            assert!(asked.answer(data).is_none());
        }
    }
}

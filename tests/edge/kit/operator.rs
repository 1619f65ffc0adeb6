//! Whoever has the token.

use super::{Client, Response};
use serde_json::Value;
use std::net::SocketAddr;

/// One who may ask the operator's listener of an edge for everything.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(super) admin: SocketAddr,
    pub(super) token: String,
}

impl Operator {
    /// The answer to a request with a body, on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        let authorization = format!("Bearer {}", self.token);
        Client::connect(self.admin).ask(request(method, path, &authorization, body))
    }

    /// What there is to see.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        json_of(&answer)
    }

    /// The receipt of a purge that is in force for good.
    #[track_caller]
    pub(crate) fn purge(&self, wish: &Value) -> Value {
        let answer = self.ask("POST", "/purge", &wish.to_string());
        assert_eq!(answer.status, 200, "{wish}: {}", answer.text());
        json_of(&answer)
    }

    /// The same, if the edge lives to acknowledge it.
    pub(crate) fn try_purge(&self, wish: &Value) -> Option<Value> {
        let mut client = Client::try_connect(self.admin)?;
        let authorization = format!("Bearer {}", self.token);
        client.try_send(request("POST", "/purge", &authorization, &wish.to_string())).ok()?;
        let answer = client.try_answer()?;
        assert_eq!(answer.status, 200, "{wish}: {}", answer.text());
        Some(json_of(&answer))
    }
}

/// A request with a body, and with this for `Authorization`.
pub(crate) fn request(method: &str, path: &str, authorization: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: admin\r\nAuthorization: {authorization}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What is in an answer, after a look at what all answers in JSON have.
#[track_caller]
pub(crate) fn json_of(answer: &Response) -> Value {
    assert_eq!(answer.field("content-type"), Some("application/json"), "{answer:?}");
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{answer:?}");
    assert!(answer.is_whole && answer.body.ends_with(b"\n"), "{answer:?}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

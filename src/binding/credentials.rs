//! The function in the option `credentials`, called on the thread of its own JavaScript.

use std::error::Error as StdError;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use napi::Status as NapiStatus;
use napi::bindgen_prelude::{Function, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::options;
use crate::config::credentials::{CredentialsFunction, CredentialsProvider};
use crate::config::options::Given;

type Answer = std::result::Result<Given, Box<dyn StdError + Send + Sync>>;

/// Identifies the function: caches with the same function share a connection.
#[napi]
pub struct NativeCredentials {
    /// Weak, because it holds the function, and the function's lifetime decides this object's.
    caller: Mutex<Weak<Caller>>,
}

/// One call of the function.
#[napi]
pub struct NativeLogin {
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

struct Caller(ThreadsafeFunction<NativeLogin, (), NativeLogin, NapiStatus, false, true>);

#[napi]
impl NativeCredentials {
    /// Calls nothing yet.
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default, reason = "made by JavaScript alone")]
    pub fn new() -> Self {
        NativeCredentials { caller: Mutex::default() }
    }
}

impl NativeCredentials {
    /// The engine calls this; `call` calls the function.
    pub fn function(&self, call: Function<NativeLogin, ()>) -> napi::Result<CredentialsFunction> {
        let mut caller = self.caller.lock();
        if let Some(caller) = caller.upgrade() {
            return Ok(CredentialsFunction(caller));
        }
        // Weak: a connection does not keep the process alive.
        let call = call.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        let made = Arc::new(Caller(call));
        *caller = Arc::downgrade(&made);
        Ok(CredentialsFunction(made))
    }
}

#[napi]
impl NativeLogin {
    /// Whether the login still waits for the function.
    #[napi(getter, catch_unwind)]
    pub fn is_awaited(&self) -> bool {
        self.answer.lock().as_ref().is_some_and(|sender| !sender.is_closed())
    }

    /// What the function returned.
    #[napi(catch_unwind)]
    pub fn grant(&self, credentials: Unknown) -> napi::Result<()> {
        let credentials = options::value(credentials)?;
        self.answer(Ok(credentials));
        Ok(())
    }

    /// What the function threw.
    #[napi(catch_unwind)]
    pub fn refuse(&self, message: String) {
        self.answer(Err(message.into()));
    }

    fn answer(&self, answer: Answer) {
        if let Some(sender) = self.answer.lock().take() {
            // If it took too long, nothing waits for it any more.
            let _ = sender.send(answer);
        }
    }
}

#[async_trait]
impl CredentialsProvider for Caller {
    async fn call(&self) -> Answer {
        let (sender, answer) = oneshot::channel();
        let login = NativeLogin { answer: Mutex::new(Some(sender)) };
        match self.0.call(login, ThreadsafeFunctionCallMode::NonBlocking) {
            NapiStatus::Ok => answer.await.unwrap_or_else(|_| Err("the function did not answer".into())),
            _ => Err("the thread that created the function has ended".into()),
        }
    }
}

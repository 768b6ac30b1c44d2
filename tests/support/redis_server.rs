//! A Redis server of the test's own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use posthog_flag_cache::endpoint::{Address, Endpoint, Login, Topology};
use posthog_flag_cache::options::{Options, Target};
use tempfile::TempDir;

/// Runs until dropped, on a port and in a directory of its own, on the loopback address only.
pub struct RedisServer {
    pub port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    process: Option<(Child, BufReader<ChildStdout>)>,
}

impl RedisServer {
    pub fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let directory = TempDir::new().unwrap();
        let mut server = RedisServer { port: 0, arguments, directory, process: None };
        // Somebody else may take the free port before the server does; then it ends by itself.
        while server.process.is_none() {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.process = server.spawn();
        }
        server
    }

    /// Kills the server; the port stays its own for a later [`RedisServer::restart`].
    pub fn kill(&mut self) {
        if let Some((mut process, _)) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        self.process = self.spawn();
        assert!(self.process.is_some(), "port {} was taken meanwhile", self.port);
    }

    pub fn pid(&self) -> i32 {
        self.process.as_ref().unwrap().0.id().try_into().unwrap()
    }

    /// A connection beside the one under test.
    pub fn client(&self) -> redis::Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).unwrap().get_connection().unwrap()
    }

    /// Where a store finds it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            topology: Topology::Server(Address::Tcp("127.0.0.1".into(), self.port)),
            tls: None,
            database: 0,
            login: Login::default(),
            client_name: Some("store".into()),
        }
    }

    /// The same options for this server.
    pub fn target(&self, options: Options) -> Options {
        Options { target: Target::Redis(Box::new(self.endpoint())), ..options }
    }

    fn spawn(&self) -> Option<(Child, BufReader<ChildStdout>)> {
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 {
            if line.contains("Ready to accept connections") {
                return Some((process, log));
            }
            line.clear();
        }
        process.wait().unwrap();
        None
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

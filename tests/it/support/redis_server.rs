//! A Redis server of the test's own.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use posthog_flag_cache::config::options::Options;
use posthog_flag_cache::config::target::{Address, Endpoint, Login, Target, Topology};
use redis::{ConnectionAddr, IntoConnectionInfo};
use tempfile::TempDir;

/// Runs until dropped, on a port and in a directory of its own, on the loopback address only.
pub struct RedisServer {
    pub port: u16,
    binary: String,
    arguments: Vec<String>,
    directory: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    /// The server that `REDIS_SERVER` names, else the one on the path. In the arguments `{port}` and
    /// `{directory}` stand for its own.
    pub fn start(arguments: &[&str]) -> Self {
        RedisServer::start_as(&std::env::var("REDIS_SERVER").unwrap_or("redis-server".into()), arguments)
    }

    /// The one on the path, whose build has TLS: on that port, and nothing else.
    pub fn start_with_tls(arguments: &[&str]) -> Self {
        let tls = ["--port", "0", "--tls-port", "{port}"];
        RedisServer::start_as("redis-server", &[&tls, arguments].concat())
    }

    fn start_as(binary: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let directory = TempDir::new().unwrap();
        let mut server = RedisServer { port: 0, binary: binary.into(), arguments, directory, process: None };
        // Somebody else may take the free port before the server does; then it ends by itself.
        while server.process.is_none() {
            server.port = free_port();
            server.process = server.spawn();
        }
        server
    }

    /// Kills the server; the port stays its own for a later [`RedisServer::restart`].
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
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
        self.process.as_ref().unwrap().id().try_into().unwrap()
    }

    /// A connection beside the one under test.
    pub fn client(&self) -> redis::Connection {
        let address = ConnectionAddr::Unix(self.socket());
        redis::Client::open(address.into_connection_info().unwrap()).unwrap().get_connection().unwrap()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Its TCP port.
    pub fn address(&self) -> Address {
        Address::Tcp("127.0.0.1".into(), self.port)
    }

    /// Where a store finds it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            topology: Topology::Server(self.address()),
            tls: None,
            database: 0,
            login: Login::default(),
            credentials: None,
            client_name: Some("store".into()),
        }
    }

    /// The same options for this server.
    pub fn target(&self, options: Options) -> Options {
        Options { target: Target::Redis(Box::new(self.endpoint())), ..options }
    }

    fn spawn(&self) -> Option<Child> {
        let directory = self.directory.path().to_str().unwrap();
        // A sentinel cannot do without a file that it can write.
        let file = self.directory.path().join("config");
        std::fs::write(&file, "").unwrap();
        let filled = self.arguments.iter().map(|argument| {
            argument.replace("{port}", &self.port.to_string()).replace("{directory}", directory)
        });
        let mut process = Command::new(&self.binary)
            .arg(file)
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args([
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
                "--dir",
                directory,
                "--unixsocket",
            ])
            .arg(self.socket())
            .args(filled)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while log.read_line(&mut line).unwrap() > 0 {
            if line.contains("Ready to accept connections") || line.contains("Sentinel ID is") {
                // It would stop at a full pipe.
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Some(process);
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

/// The bus of a cluster takes the port 10000 above.
fn free_port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < u16::MAX - 10_000 {
            return port;
        }
    }
}

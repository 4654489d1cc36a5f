//! The local dashboard: pages and an API over models, atlases, edits, sweeps, simulated networks and reports.
//!
//! Routes only convert: what a page shows, the API gives, and the library computes. Pages are rendered here from the
//! same blocks and figures as reports; small scripts of `web/` add hovering, linking and streaming. One thread owns
//! each model ([`worker`]); long work is a [`job`] with progress, which can be stopped.

mod api;
mod app;
mod assets;
mod failure;
mod guard;
mod job;
mod pages;
mod route;
mod worker;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use rand::TryRngCore;
use tokio::net::TcpListener;

use crate::analysis::bio::{self, Named};
use crate::analysis::{memory, scan};
use crate::data::organism::embedded;
use crate::models::OpenOptions;
use crate::store::atlas::{DATABASE, MANIFEST};
use crate::{Error, Result};

use app::{App, Inner, Served};
use worker::Worker;

/// The largest body of a request, in bytes.
const BODY: usize = 1 << 20;

/// How long the end of a server waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Models, folders of atlases and names of simulated networks; the organism and all networks if empty.
    pub subjects: Vec<String>,
    /// The address to listen at.
    pub address: IpAddr,
    /// The port; 0 for any that is free.
    pub port: u16,
    /// What requests must know; random if `None`.
    pub token: Option<String>,
    /// Where edits, reports and models are written.
    pub folder: PathBuf,
    /// How models are opened.
    pub open: OpenOptions,
}

/// A server that listens.
pub struct Server {
    listener: std::net::TcpListener,
    app: App,
    threads: Vec<JoinHandle<()>>,
    /// Where it is, with the token.
    pub url: String,
    /// What requests must know.
    pub token: String,
}

impl Server {
    /// Listens, and begins to open the models.
    ///
    /// # Errors
    /// An address that is taken, a subject that is none, an address open to others without a token of the user's.
    pub fn bind(options: &Options) -> Result<Self> {
        if !options.address.is_loopback() && options.token.is_none() {
            return Err(Error::invalid(
                format!("{} is open to other machines, and there is no --token", options.address),
                "give a token of your own, or leave --host out to serve this machine alone",
            ));
        }
        if options.token.as_ref().is_some_and(|t| t.len() < 16 || !t.chars().all(|c| c.is_ascii_alphanumeric())) {
            return Err(Error::invalid("the token is too simple", "give at least 16 letters and digits"));
        }
        let token = options.token.clone().map_or_else(random_token, Ok)?;
        let at = SocketAddr::new(options.address, options.port);
        let taken = |e: io::Error| {
            Error::invalid(format!("{at} cannot be listened at: {e}"), "use another --port, or 0 for any that is free")
        };
        let listener = std::net::TcpListener::bind(at).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let at = listener.local_addr().map_err(taken)?;
        let Subjects { models, networks, threads } = subjects(options)?;
        let mut hosts = vec![at.to_string(), format!("localhost:{}", at.port())];
        if at.port() == 80 {
            hosts.extend([at.ip().to_string(), "localhost".to_string()]);
        }
        let app = App::new(Inner {
            models,
            networks,
            jobs: job::Jobs::default(),
            folder: options.folder.clone(),
            token: token.clone(),
            hosts: at.ip().is_loopback().then_some(hosts),
            open: options.open.clone(),
            // Browsers share cookies between the ports of a host.
            cookie: format!("optrode-{}", at.port()),
        });
        // An address of all of the machine is none that a browser can open.
        let shown = if at.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), at.port()) } else { at };
        Ok(Self { listener, app, threads, url: format!("http://{shown}/?token={token}"), token })
    }

    /// Answers requests until the program is interrupted.
    ///
    /// # Errors
    /// The system's.
    pub fn run(self) -> Result<()> {
        let system = |e: io::Error| Error::invalid(format!("the server cannot go on: {e}"), "start it again");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(system)?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(self.listener).map_err(system)?;
            let router = router(self.app.clone());
            tokio::select! {
                ended = axum::serve(listener, router).into_future() => ended.map_err(system),
                _ = tokio::signal::ctrl_c() => Ok(()),
            }
        })?;
        self.app.jobs.all().iter().for_each(|job| job.stop());
        runtime.shutdown_timeout(PATIENCE);
        drop(self.app);
        // Temporary folders go away with the threads; work that does not end soon ends with the program.
        let began = Instant::now();
        while began.elapsed() < PATIENCE && self.threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn router(app: App) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .fallback(pages::nothing)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

fn random_token() -> Result<String> {
    let mut bytes = [0u8; 24];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|e| Error::invalid(format!("the system gives no random numbers: {e}"), "give a --token"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Whether this is the folder of the organism that the program carries.
fn is_embedded(reference: &str) -> bool {
    embedded::folder().is_ok_and(|folder| folder == Path::new(reference))
}

/// What is served.
struct Subjects {
    models: Vec<Served>,
    networks: Vec<&'static Named>,
    /// Those of the models.
    threads: Vec<JoinHandle<()>>,
}

/// Models and networks by what the user named.
fn subjects(options: &Options) -> Result<Subjects> {
    let mut wanted: Vec<(String, String, Option<PathBuf>)> = Vec::new(); // name, reference, atlas
    let mut networks = Vec::new();
    let mut add = |reference: String, name: Option<&str>, atlas: Option<PathBuf>| {
        if let Some((_, _, own)) = wanted.iter_mut().find(|(_, known, _)| same_model(known, &reference)) {
            *own = own.take().or(atlas);
            return;
        }
        let taken: Vec<String> = wanted.iter().map(|(name, _, _)| name.clone()).collect();
        let slug = app::slug(name.unwrap_or(&reference), &taken);
        wanted.push((slug, reference, atlas));
    };
    if options.subjects.is_empty() {
        add(embedded::folder()?.display().to_string(), Some("organism"), None);
        networks.extend(bio::NETWORKS.iter());
    }
    for subject in &options.subjects {
        let path = Path::new(subject);
        if bio::is_named(subject) && subject != bio::SUBSTRATE {
            networks.push(bio::find(subject)?);
        } else if subject == "organism" && !path.exists() {
            add(embedded::folder()?.display().to_string(), Some("organism"), None);
        } else if path.join(DATABASE).is_file() {
            let manifest = scan::Manifest::open(path.join(MANIFEST))?;
            let model = manifest.model.ok_or_else(|| {
                Error::file(path, "this atlas was merged and does not say where its model is", "name the model too")
            })?;
            let name = is_embedded(&model).then_some("organism");
            add(model, name, Some(path.to_path_buf()));
        } else {
            crate::store::resolve(subject, &options.open.hub)?;
            add(subject.clone(), None, None);
        }
    }
    let start = |(name, reference, atlas): (String, String, Option<PathBuf>)| {
        let wanted = reference.clone();
        let open = move |options: &OpenOptions| memory::open(&wanted, options);
        let (worker, thread) = Worker::start(&name, options.open.clone(), atlas, open)
            .map_err(|e| Error::invalid(format!("no thread for {name}: {e}"), "serve fewer models"))?;
        Ok((Served { name, reference, worker }, thread))
    };
    let (models, threads) = wanted.into_iter().map(start).collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok(Subjects { models, networks, threads })
}

/// Whether two references name one model.
fn same_model(a: &str, b: &str) -> bool {
    let real = |path: &str| Path::new(path).canonicalize().ok();
    a == b || real(a).is_some_and(|path| real(b) == Some(path))
}

//! Everything that the chat consists of: two servers, a worker, Redis, a schema in Postgres.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result};
use common::testing;

use super::{
    Database,
    database::Schema,
    server::Process,
    site::{Side, Site},
};
use crate::{
    How,
    redis_side::{Namespace, RedisSide},
};

/// A running chat. Dropping it ends its processes and removes its data.
#[derive(Debug)]
pub(super) struct Stack {
    site: Site,
    /// Held for its process.
    _worker: Process,
    place: Rc<Place>,
}

/// Where a stack keeps its data. Fields are dropped in this order: Redis last.
#[derive(Debug)]
pub(super) struct Place {
    /// In Postgres.
    pub(super) schema: Schema,
    /// In Redis.
    pub(super) namespace: Namespace,
    /// Redis.
    pub(super) redis: RedisSide,
    /// What the processes write.
    folder: Folder,
}

/// A folder that is removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Place {
    /// Where processes write what they say.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Makes one, with all tables.
    pub(super) async fn make(how: &How, database: &Database) -> Result<Rc<Self>> {
        let redis = RedisSide::start(how.redis_url.as_deref()).await?;
        let folder = std::env::temp_dir().join(testing::unique("rhubarb-bench-"));
        std::fs::create_dir_all(&folder).context("make a folder for logs")?;
        let folder = Folder(folder);
        let place = Self {
            schema: Schema::create(&database.database_url).await?,
            namespace: redis.namespace()?,
            redis,
            folder,
        };
        Ok(place.into())
    }
}

impl Stack {
    /// Starts one, with these settings as environment variables.
    pub(super) async fn start(
        how: &How,
        database: &Database,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        Self::in_place(Place::make(how, database).await?, settings).await
    }

    /// Starts fresh processes beside these, on the same data.
    pub(super) async fn again(&self, settings: &[(&str, &str)]) -> Result<Self> {
        Self::in_place(self.place.clone(), settings).await
    }

    /// Starts one on this data.
    pub(super) async fn in_place(place: Rc<Place>, settings: &[(&str, &str)]) -> Result<Self> {
        let database_url = place.schema.url();
        let mut environment = vec![
            ("REDIS_URL", place.redis.url()),
            ("DATABASE_URL", &database_url),
            ("RHUBARB_NAMESPACE", &place.namespace.name),
            ("RUST_LOG", "warn"),
            // Anybody, and as much as the load wants: what is measured is not how a limit holds.
            ("GUESTS", "true"),
            ("MESSAGE_RATE", "off"),
            ("USER_MESSAGE_RATE", "off"),
            ("USER_READ_RATE", "off"),
            ("JOIN_RATE", "off"),
            ("FRAME_RATE", "off"),
            ("CONNECT_RATE", "off"),
            ("ADDRESS_REQUEST_RATE", "off"),
            ("ADDRESS_CONNECT_RATE", "off"),
            ("CONNECTIONS_PER_ADDRESS", "1000000"),
            ("CONNECTIONS_PER_USER", "1000000"),
        ];
        environment.extend_from_slice(settings);

        let mut worker = Process::beside("worker")?;
        worker.envs(environment.iter().copied());
        let mut worker = Process::start(worker, place.folder())?;
        let site = Site::start(Side::Rhubarb, &place, &environment, Path::new("")).await?;
        worker.expect_alive()?;
        Ok(Self {
            site,
            _worker: worker,
            place,
        })
    }

    /// Starts the servers of another side beside these, with the same Redis.
    pub(super) async fn beside(&self, side: Side, peers: &Path) -> Result<Site> {
        let environment = [
            ("PEER_REDIS_URL", self.place.redis.url()),
            ("PEER_PREFIX", self.place.namespace.keys.prefix()),
        ];
        Site::start(side, &self.place, &environment, peers).await
    }

    /// Its servers.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// The same, to replace some.
    pub(super) fn site_mut(&mut self) -> &mut Site {
        &mut self.site
    }

    /// The servers' ports.
    pub(super) fn ports(&self) -> &[u16] {
        self.site.ports()
    }

    /// Where its data is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

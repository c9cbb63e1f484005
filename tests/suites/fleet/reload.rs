//! Edits of the fleet file while the daemon runs.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use polkafleet::fleet::Fleet;
use polkafleet::fleet::file::Sources;
use polkafleet::fleet::validate::load;
use polkafleet::observed::ClusterState;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::workers::{VERSION, is_looked_after, says};
use crate::support::daemon::{Daemon, command};
use crate::support::world::{Member, Place, World, sample};
use crate::support::{PATIENCE, eventually, in_both_worlds};

in_both_worlds! {
    a_kubeconfig_that_has_lost_its_users_takes_nothing_away_and_no_daemon_starts_with_it,
    another_api_server_in_the_kubeconfig_is_told_and_looked_after_instead,
    one_cluster_under_two_names_is_looked_after_by_one_of_them_and_told,
    sighup_looks_at_once_and_tells_the_mistakes_again,
}

/// How the file comes to have new content.
#[derive(Clone, Copy, Debug)]
enum Style {
    InPlace,
    Rename,
    /// As the kubelet does with a ConfigMap.
    SymlinkSwap,
    /// Cut off in the middle, and whole a moment later.
    Truncated,
}

const STYLES: [Style; 4] = [Style::InPlace, Style::Rename, Style::SymlinkSwap, Style::Truncated];

/// The clusters that have a worker.
fn workers(daemon: &Daemon) -> BTreeSet<String> {
    let Daemon::Inside { daemon, .. } = daemon else { panic!("it runs inside the test") };
    daemon.board.borrow().clusters.keys().map(ToString::to_string).collect()
}

/// A fresh load of the file.
fn loaded(file: &Path) -> Fleet {
    load(&Sources { file: Some(file.to_owned()), ..Sources::default() }).unwrap()
}

/// The clusters of a fresh load of the file.
fn members(file: &Path) -> BTreeSet<String> {
    loaded(file).clusters.iter().map(|cluster| cluster.name.to_string()).collect()
}

/// A world, its daemon, and a person who edits the fleet file at random.
struct Editor {
    world: World,
    daemon: Daemon,
    random: StdRng,
    edits: usize,
}

impl Editor {
    async fn new(clusters: usize) -> Self {
        let seed = std::env::var("POLKAFLEET_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(rand::random);
        eprintln!("POLKAFLEET_SEED={seed}");
        let world = World::new(Place::Sandbox, clusters).await;
        world.write_fleet(1, &json!({}));
        std::fs::copy(world.fleet_file(), world.folder.path().join("last-good.yaml")).unwrap();
        let daemon = world.daemon();
        Self { world, daemon, random: StdRng::seed_from_u64(seed), edits: 0 }
    }

    fn last_good(&self) -> PathBuf {
        self.world.folder.path().join("last-good.yaml")
    }

    /// Some clusters, each with some settings; none of them is there in every edit.
    fn good(&mut self) -> Value {
        let mut clusters = vec![];
        for member in &self.world.members {
            if self.random.random_bool(0.5) {
                let mut cluster = json!({
                    "name": member.name, "context": member.name, "kubeconfig": "kubeconfig",
                    "paused": self.random.random_bool(0.3), "maxNodesInFlight": self.random.random_range(1..4),
                });
                if self.random.random_bool(0.3) {
                    cluster["namespaces"] = json!([self.world.namespace]);
                }
                clusters.push(cluster);
            }
        }
        if clusters.is_empty() {
            let name = &self.world.members[0].name;
            clusters.push(json!({"name": name, "context": name, "kubeconfig": "kubeconfig"}));
        }
        json!({
            "version": 1, "home": clusters[0]["name"], "homeNamespace": self.world.namespace, "clusters": clusters,
        })
    }

    /// What is wrong with it has the number of the edit in it (as a name, or as its line), so that it is told anew.
    fn bad(&mut self) -> (String, String) {
        let (mut fleet, mark) = (self.good(), format!("wrong-{}-", self.edits));
        match self.random.random_range(0..4) {
            0 => fleet["home"] = json!(mark),
            1 => fleet[&mark] = json!(1),
            2 => fleet["clusters"][0]["context"] = json!(mark),
            _ => {
                return (
                    format!("version: 1\nclusters: [\n{}", format!("# {mark}\n").repeat(self.edits)),
                    "cannot be parsed".into(),
                );
            }
        }
        (serde_yaml::to_string(&fleet).unwrap(), mark)
    }

    async fn write(&mut self, text: &str, style: Style) {
        let (file, folder) = (self.world.fleet_file(), self.world.folder.path().to_owned());
        match style {
            Style::InPlace => std::fs::write(&file, text).unwrap(),
            Style::Rename => self.world.write_text(text),
            Style::SymlinkSwap => {
                let data = format!("..{}", self.edits);
                std::fs::create_dir(folder.join(&data)).unwrap();
                std::fs::write(folder.join(&data).join("fleet.yaml"), text).unwrap();
                symlink(&data, folder.join("..data_new")).unwrap();
                std::fs::rename(folder.join("..data_new"), folder.join("..data")).unwrap();
                if !file.is_symlink() {
                    symlink("..data/fleet.yaml", folder.join("fleet.link")).unwrap();
                    std::fs::rename(folder.join("fleet.link"), &file).unwrap();
                }
            }
            Style::Truncated => {
                let end = self.random.random_range(0..text.len());
                std::fs::write(&file, &text.as_bytes()[..end]).unwrap();
                // Shorter than what a file must stand still for, but for the worst machine.
                tokio::time::sleep(Duration::from_millis(self.random.random_range(0..100))).await;
                std::fs::write(&file, text).unwrap();
            }
        }
    }

    /// How often the daemon has said something.
    fn said(&self, words: &str) -> usize {
        self.daemon.said().matches(words).count()
    }

    async fn edit(&mut self) {
        self.edits += 1;
        let style = STYLES[self.random.random_range(0..STYLES.len())];
        match self.random.random_range(0..10) {
            0..6 => {
                let text = serde_yaml::to_string(&self.good()).unwrap();
                std::fs::write(self.last_good(), &text).unwrap();
                self.write(&text, style).await;
            }
            6..9 => {
                let (text, mark) = self.bad();
                let before = self.said(&mark);
                self.write(&text, style).await;
                eventually(&format!("{style:?} of {text} is refused"), PATIENCE, async || {
                    (self.said(&mark) > before).then_some(())
                })
                .await;
            }
            _ => self.break_kubeconfig().await,
        }
        let expected = members(&self.last_good());
        eventually(&format!("edit {}, {style:?}: {expected:?}", self.edits), PATIENCE, async || {
            (workers(&self.daemon) == expected).then_some(())
        })
        .await;
        // With all that it says of them, as a fresh start would take it.
        let fresh = loaded(&self.last_good());
        let Daemon::Inside { daemon, .. } = &self.daemon else { panic!() };
        eventually(&format!("edit {}, {style:?}: {fresh:?}", self.edits), PATIENCE, async || {
            (**daemon.fleet.borrow() == fresh).then_some(())
        })
        .await;
    }

    async fn break_kubeconfig(&self) {
        let path = self.world.folder.path().join("kubeconfig");
        let good = std::fs::read(&path).unwrap();
        let broken = self.said("The kubeconfig cannot be read");
        std::fs::write(&path, "{contexts: [").unwrap();
        eventually("it is told", PATIENCE, async || {
            (self.said("The kubeconfig cannot be read") > broken).then_some(())
        })
        .await;
        assert_eq!(workers(&self.daemon), members_of_last(self), "nothing is taken away");
        let mended = self.said("The kubeconfig can be read again");
        std::fs::write(&path, good).unwrap();
        eventually("its end is told", PATIENCE, async || {
            (self.said("The kubeconfig can be read again") > mended).then_some(())
        })
        .await;
    }
}

/// Read from the file alone: the kubeconfig is broken.
fn members_of_last(editor: &Editor) -> BTreeSet<String> {
    let text = std::fs::read_to_string(editor.last_good()).unwrap();
    let fleet: Value = serde_yaml::from_str(&text).unwrap();
    let clusters = fleet["clusters"].as_array().unwrap();
    clusters.iter().map(|cluster| cluster["name"].as_str().unwrap().to_owned()).collect()
}

/// 30 edits; scripts/bench reloads does 1,000.
#[tokio::test(flavor = "multi_thread")]
async fn after_every_random_edit_the_workers_are_those_of_the_last_good_file() {
    let edits = std::env::var("POLKAFLEET_RELOADS").ok().and_then(|edits| edits.parse().ok()).unwrap_or(30);
    let mut editor = Editor::new(6).await;
    let begun = Instant::now();
    for _ in 0..edits {
        editor.edit().await;
    }
    eprintln!("{edits} edits in {:.1?}", begun.elapsed());
    assert!(editor.daemon.terminate().await);
}

/// What a member was asked but whether it is there.
fn asked(member: &Member) -> usize {
    member.busy_requests() + member.watches_started()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_one_of_two_hundred_clusters_sends_no_request_to_the_others() {
    const COUNT: usize = 200;
    let world = World::new(Place::Sandbox, COUNT).await;
    world.write_fleet(COUNT, &json!({}));
    let daemon = world.daemon();
    let Daemon::Inside { daemon: inside, .. } = &daemon else { panic!() };
    eventually("all are ready", PATIENCE, async || {
        let board = inside.board.borrow();
        let ready = board.clusters.values().filter(|view| view.state == ClusterState::Ready).count();
        (ready == COUNT).then_some(())
    })
    .await;
    let before: Vec<usize> = world.members.iter().map(asked).collect();
    let edited = 123;
    let text = std::fs::read_to_string(world.fleet_file()).unwrap();
    let mut fleet: Value = serde_yaml::from_str(&text).unwrap();
    fleet["clusters"][edited]["namespaces"] = json!([world.namespace, "another"]);
    world.write_text(&serde_yaml::to_string(&fleet).unwrap());
    eventually("the edited one is watched anew", PATIENCE, async || {
        (world.members[edited].watches_started() > before[edited]).then_some(())
    })
    .await;
    tokio::time::sleep(world.quiet()).await;
    for (index, member) in world.members.iter().enumerate().filter(|(index, _)| *index != edited) {
        assert_eq!(asked(member), before[index], "{}: {}", member.name, member.last_requests());
    }
    let said = daemon.said();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("The fleet file changed")).collect();
    assert_eq!(lines.len(), 1, "one line for one changed cluster: {lines:#?}");
}

async fn sighup_looks_at_once_and_tells_the_mistakes_again(place: Place) {
    let world = World::new(place, 1).await;
    world.write_fleet(1, &json!({}));
    let daemon = world.process();
    let Daemon::Process { child, .. } = &daemon else { panic!() };
    let told = async |times: usize| {
        eventually(&format!("it is told {times} times"), PATIENCE, async || {
            (daemon.said().matches("clusters: is missing").count()
                + daemon.said().matches("clusters: has no cluster").count()
                >= times)
                .then_some(())
        })
        .await;
    };
    eventually("it runs", PATIENCE, async || daemon.said().contains("Starting.").then_some(())).await;
    world.write_text("version: 1\n");
    told(1).await;
    let hung_up = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap();
    assert!(hung_up.success());
    told(2).await;
}

/// As `kubectl` writes one, with its users last, and cut off there.
async fn a_kubeconfig_that_has_lost_its_users_takes_nothing_away_and_no_daemon_starts_with_it(place: Place) {
    let world = World::new(place, 2).await;
    world.write_fleet(2, &json!({}));
    world.fill(VERSION).await;
    let daemon = world.process();
    for member in &world.members {
        member.settles_at(VERSION).await;
    }
    let path = world.folder.path().join("kubeconfig");
    let whole = std::fs::read_to_string(&path).unwrap();
    let mut cut: Value = serde_json::from_str(&whole).unwrap();
    cut.as_object_mut().unwrap().remove("users");
    std::fs::write(&path, cut.to_string()).unwrap();
    says(&daemon, &["which is not in it; is the file cut off?"]).await;
    tokio::time::sleep(world.quiet()).await;
    for member in &world.members {
        is_looked_after(&world, member).await;
    }
    assert!(!daemon.said().contains("New credentials are in use"), "{}", daemon.said());
    let fresh = command().args(["validate", "--fleet"]).arg(world.fleet_file()).output().unwrap();
    assert_eq!(fresh.status.code(), Some(2));
    let told = String::from_utf8(fresh.stderr).unwrap();
    assert!(told.contains("clusters[0].context") && told.contains("is the file cut off?"), "{told}");
    std::fs::write(&path, whole).unwrap();
    says(&daemon, &["The kubeconfig can be read again"]).await;
    for member in &world.members {
        is_looked_after(&world, member).await;
    }
}

async fn one_cluster_under_two_names_is_looked_after_by_one_of_them_and_told(place: Place) {
    let world = World::new(place, 2).await;
    let path = world.folder.path().join("kubeconfig");
    let good = std::fs::read_to_string(&path).unwrap();
    let mut twice: Value = serde_json::from_str(&good).unwrap();
    twice["contexts"][1]["context"] = twice["contexts"][0]["context"].clone();
    std::fs::write(&path, twice.to_string()).unwrap();
    world.write_fleet(2, &json!({}));
    let daemon = world.process();
    says(&daemon, &["nothing is done by this name: it leads to the same API server as cluster "]).await;
    says(&daemon, &["remove one of the two entries"]).await;
    says(&daemon, &["\"state\":\"ready\""]).await;
    let first = &world.members[0];
    first.create(&sample(VERSION, 0x72)).await;
    is_looked_after(&world, first).await;
    assert_eq!(daemon.said().matches("\"state\":\"ready\"").count(), 1, "{}", daemon.said());
    // It is tried again meanwhile, after one second and after two.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(daemon.said().matches("nothing is done by this name").count(), 1, "{}", daemon.said());
    std::fs::write(&path, good).unwrap();
    let second = &world.members[1];
    second.create(&sample(VERSION, 0x73)).await;
    is_looked_after(&world, second).await;
    is_looked_after(&world, first).await;
}

async fn another_api_server_in_the_kubeconfig_is_told_and_looked_after_instead(place: Place) {
    let world = World::new(place, 2).await;
    world.write_fleet(1, &json!({}));
    let daemon = world.process();
    says(&daemon, &["\"state\":\"ready\""]).await;
    let path = world.folder.path().join("kubeconfig");
    let mut moved: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    moved["contexts"][0]["context"] = moved["contexts"][1]["context"].clone();
    std::fs::write(&path, moved.to_string()).unwrap();
    says(&daemon, &["the kubeconfig leads to another API server now, http"]).await;
    let other = &world.members[1];
    other.create(&sample(VERSION, 0x74)).await;
    is_looked_after(&world, other).await;
    assert!(!daemon.said().contains("early end"), "{}", daemon.said());
}

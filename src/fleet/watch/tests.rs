use std::fs;
use std::io::Write as _;
use std::sync::Mutex;

use notify::event::AccessKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::fleet::validate::load;

const BOUND: Duration = Duration::from_secs(10);

/// A folder with a kubeconfig and a fleet file, followed.
struct World {
    folder: tempfile::TempDir,
    fleet: watch::Receiver<Arc<Fleet>>,
    credentials: watch::Receiver<Credentials>,
    refused: watch::Receiver<Vec<String>>,
    log: Log,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn count(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(part).count()
    }

    async fn says(&self, part: &str, times: usize) {
        let since = Instant::now();
        while self.count(part) < times {
            assert!(since.elapsed() < BOUND, "{part}: {}", String::from_utf8_lossy(&self.0.lock().unwrap()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn of(clusters: &[&str]) -> String {
    let entries: Vec<String> =
        clusters.iter().map(|name| format!("- {{context: {name}, kubeconfig: k}}\n")).collect();
    format!("version: 1\nhome: a\nclusters:\n{}", entries.concat())
}

const KUBECONFIG: &str = "{contexts: [{name: a}, {name: b}, {name: c}]}";

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("k"), KUBECONFIG).unwrap();
        fs::write(folder.path().join("fleet.yaml"), of(&["a"])).unwrap();
        Self::follow(folder)
    }

    fn follow(folder: tempfile::TempDir) -> Self {
        use tracing::instrument::WithSubscriber as _;
        let sources = Sources { file: Some(folder.path().join("fleet.yaml")), ..Sources::default() };
        let loaded = load(&sources).unwrap();
        let (numbers, credentials) = watch::channel(super::credentials(&loaded));
        let (sender, fleet) = watch::channel(Arc::new(loaded));
        let (log, stop) = (Log::default(), CancellationToken::new());
        let logger = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        let (refusing, refused) = watch::channel(vec![]);
        let following = follow(sources, sender, numbers, refusing, stop.clone());
        let task = tokio::spawn(following.with_subscriber(logger));
        Self { folder, fleet, credentials, refused, log, stop, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("fleet.yaml"), text).unwrap();
    }

    async fn has(&mut self, clusters: usize) {
        let right = self.fleet.wait_for(|fleet| fleet.clusters.len() == clusters);
        tokio::time::timeout(BOUND, right).await.expect("the edit arrives").unwrap();
    }

    /// Waits until just this is refused, by the first words of each.
    async fn refuses(&mut self, words: &[&str]) {
        let right = self.refused.wait_for(|refused| {
            refused.len() == words.len() && refused.iter().zip(words).all(|(one, words)| one.contains(words))
        });
        tokio::time::timeout(BOUND, right).await.expect("that is refused").unwrap();
    }

    async fn is(&mut self, what: &str, right: impl FnMut(&Arc<Fleet>) -> bool) {
        let right = self.fleet.wait_for(right);
        drop(tokio::time::timeout(BOUND, right).await.expect(what).unwrap());
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(BOUND, self.task).await.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn an_edit_in_place_arrives() {
    let mut world = World::new();
    world.write(&of(&["a", "b"]));
    world.has(2).await;
    world.end().await;
}

#[tokio::test]
async fn an_edit_by_rename_arrives() {
    let mut world = World::new();
    for clusters in [&["a", "b"][..], &["a", "b", "c"]] {
        fs::write(world.path(".fleet.yaml.swp"), of(clusters)).unwrap();
        fs::rename(world.path(".fleet.yaml.swp"), world.path("fleet.yaml")).unwrap();
        world.has(clusters.len()).await;
    }
    world.end().await;
}

/// As the kubelet does with a ConfigMap: `fleet.yaml` → `..data/fleet.yaml`, and `..data` → a folder with a date.
#[tokio::test]
async fn a_symlink_swap_of_a_config_map_arrives() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("k"), KUBECONFIG).unwrap();
    for (date, clusters) in [("..1", &["a"][..]), ("..2", &["a", "b"])] {
        fs::create_dir(at(date)).unwrap();
        fs::write(at(date).join("fleet.yaml"), of(clusters)).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/fleet.yaml", at("fleet.yaml")).unwrap();
    let mut world = World::follow(folder);
    symlink("..2", world.path("..data_tmp")).unwrap();
    fs::rename(world.path("..data_tmp"), world.path("..data")).unwrap();
    fs::remove_dir_all(world.path("..1")).unwrap();
    world.has(2).await;
    world.end().await;
}

/// The folder of the link is watched, that of its target is not.
#[tokio::test]
async fn an_edit_of_which_no_event_tells_is_seen_by_the_next_poll() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("k"), KUBECONFIG).unwrap();
    let target = elsewhere.path().join("fleet.yaml");
    fs::write(&target, of(&["a"])).unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join("fleet.yaml")).unwrap();
    let mut world = World::follow(folder);
    tokio::time::sleep(DEBOUNCE * 3).await; // The first look is over.
    fs::write(&target, of(&["a", "b"])).unwrap();
    world.has(2).await;
    world.end().await;
}

#[tokio::test]
async fn a_bad_edit_is_told_once_and_keeps_the_last_good_fleet() {
    let mut world = World::new();
    world.write(&of(&["a", "nobody"]));
    world.log.says("clusters[1].context", 1).await;
    world.refuses(&["the edited fleet file: "]).await;
    assert_eq!(world.fleet.borrow().clusters.len(), 1);
    // The same mistake once more, so that it is looked at; then a good edit, which comes after whatever that caused.
    world.write(&format!("# a remark\n{}", of(&["a", "nobody"])));
    tokio::time::sleep(DEBOUNCE * 3).await;
    world.write(&of(&["a", "b"]));
    world.has(2).await;
    world.log.says("valid again", 1).await;
    world.refuses(&[]).await;
    assert_eq!((world.log.count("clusters[1].context"), world.log.count("valid again")), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn a_file_that_is_gone_keeps_the_last_good_fleet() {
    let mut world = World::new();
    fs::remove_file(world.path("fleet.yaml")).unwrap();
    world.log.says("cannot be read", 1).await;
    assert_eq!(world.fleet.borrow().clusters.len(), 1);
    world.write(&of(&["a", "b"]));
    world.has(2).await;
    world.end().await;
}

#[tokio::test]
async fn a_broken_kubeconfig_is_told_once_takes_nothing_away_and_its_mending_is_told() {
    let mut world = World::new();
    let before = world.credentials.borrow().clone();
    fs::write(world.path("k"), "{contexts: [").unwrap();
    world.log.says("The kubeconfig cannot be read", 1).await;
    world.refuses(&["kubeconfig "]).await;
    // Edits go on meanwhile, but what is new in the broken file is not known.
    world.write(&of(&["a"]).replace("{context", "{paused: true, context"));
    world.is("paused", |fleet| fleet.clusters[0].paused).await;
    world.write(&of(&["a", "b"]));
    world.log.says("clusters[1].kubeconfig", 1).await;
    assert_eq!(*world.credentials.borrow(), before, "what was last good is kept");
    fs::write(world.path("k"), KUBECONFIG).unwrap();
    world.has(2).await;
    world.log.says("The kubeconfig can be read again", 1).await;
    world.refuses(&[]).await;
    assert_eq!(world.log.count("The kubeconfig cannot be read"), 1);
    assert_eq!(*world.credentials.borrow(), before, "it is the same again");
    world.end().await;
}

#[tokio::test]
async fn a_changed_kubeconfig_is_news_also_while_the_fleet_file_is_wrong() {
    let mut world = World::new();
    let path = world.path("k");
    let connection = Connection::Kubeconfig { path: Some(path.clone()), context: "a".into() };
    let generation = |world: &World| super::generation(&world.credentials.borrow(), &connection);
    for (wrong, more) in [(false, "# 1"), (true, "# 2"), (true, "# 3")] {
        if wrong {
            world.write("clusters: [");
            world.log.says("cannot be parsed", 1).await;
        }
        let before = generation(&world);
        fs::write(&path, format!("{KUBECONFIG} {more}")).unwrap();
        tokio::time::timeout(BOUND, world.credentials.changed()).await.expect("it is seen").unwrap();
        assert_ne!(generation(&world), before);
    }
    assert!(!world.fleet.has_changed().unwrap(), "the fleet is the same");
    world.end().await;
}

/// The kubeconfigs of clusters that have left are forgotten.
#[tokio::test]
async fn credentials_are_those_of_the_fleet_in_force() {
    let mut world = World::new();
    fs::write(world.path("other"), KUBECONFIG).unwrap();
    let names = |world: &World| -> Vec<PathBuf> { world.credentials.borrow().keys().cloned().collect() };
    world.write(&format!("{}- {{context: b, kubeconfig: other}}\n", of(&["a"])));
    world.has(2).await;
    let both = world.credentials.wait_for(|all| all.len() == 2);
    drop(tokio::time::timeout(BOUND, both).await.expect("both are known").unwrap());
    world.write(&of(&["a"]).replace("k}", "other}"));
    let one = world.credentials.wait_for(|all| all.len() == 1);
    drop(tokio::time::timeout(BOUND, one).await.expect("one is left").unwrap());
    assert_eq!(names(&world), [world.path("other")]);
    world.end().await;
}

/// Half of this file is a valid file in which two of three clusters have left.
#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("k"), KUBECONFIG).unwrap();
    fs::write(folder.path().join("fleet.yaml"), of(&["a", "b", "c"])).unwrap();
    let mut world = World::follow(folder);
    let mut slow = fs::File::create(world.path("fleet.yaml")).unwrap();
    for line in
        of(&["a"]).split_inclusive('\n').chain(["# …\n"; 20]).chain(["- {context: b, kubeconfig: k}\n"])
    {
        slow.write_all(line.as_bytes()).unwrap();
        tokio::time::sleep(DEBOUNCE / 3).await;
    }
    world.has(2).await;
    assert_eq!(world.log.count("leaves"), 1, "only c has left, in one step");
    world.end().await;
}

/// Our own reading must not wake us.
#[tokio::test]
async fn nothing_is_read_between_two_polls_of_a_quiet_file() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let world = World::new();
    tokio::time::sleep(DEBOUNCE * 5).await; // The first look, and the events of making the files.
    let opened = Arc::new(AtomicUsize::new(0));
    let (count, file) = (Arc::clone(&opened), world.path("fleet.yaml"));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let event = event.unwrap();
        let open = matches!(event.kind, EventKind::Access(AccessKind::Open(_)));
        count.fetch_add(usize::from(open && event.paths.contains(&file)), Ordering::SeqCst);
    })
    .unwrap();
    watcher.watch(world.folder.path(), RecursiveMode::NonRecursive).unwrap();
    tokio::time::sleep(POLL * 2).await;
    assert!(opened.load(Ordering::SeqCst) <= 3, "{} times in two polls", opened.load(Ordering::SeqCst));
    world.end().await;
}

#[test]
fn what_is_still_wrong_is_told_again_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("k"), KUBECONFIG).unwrap();
    fs::write(folder.path().join("fleet.yaml"), of(&["a"])).unwrap();
    let sources = Sources { file: Some(folder.path().join("fleet.yaml")), ..Sources::default() };
    let fleet = watch::Sender::new(Arc::new(load(&sources).unwrap()));
    let mut follower = Follower::new(sources, fleet, watch::Sender::new(Credentials::new()));
    let log = Log::default();
    let logger = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let begin = Instant::now();
    tracing::subscriber::with_default(logger, || {
        let minute = |follower: &mut Follower, minute| follower.remind(begin + POLL + POLL * 30 * minute);
        minute(&mut follower, 0);
        follower.unreadable.insert(Some("k".into()), "it is gone".into());
        (1..5).for_each(|number| minute(&mut follower, number));
        assert_eq!(log.count("still cannot be read"), 2, "after one minute, and after two more");
        follower.unreadable.clear();
        (5..60).for_each(|number| minute(&mut follower, number));
        assert_eq!(log.count("still cannot be read"), 2);
    });
}

#[tokio::test]
async fn a_kubeconfig_without_the_user_of_a_running_context_keeps_its_number_and_holds_up_no_other_edit() {
    let mut world = World::new();
    let number = world.credentials.borrow().clone();
    let cut = "{contexts: [{name: a, context: {cluster: x, user: me}}, {name: b}, {name: c}]}";
    fs::write(world.path("k"), cut).unwrap();
    world.refuses(&["the user \"me\", which is not in it; is the file cut off?"]).await;
    assert_eq!(*world.credentials.borrow(), number, "nobody takes new credentials from it");
    world.write(&of(&["a", "b"]));
    world.has(2).await;
    fs::write(world.path("k"), KUBECONFIG).unwrap();
    world.refuses(&[]).await;
    world.end().await;
}

#[tokio::test]
async fn a_context_without_its_user_is_not_taken_in() {
    let mut world = World::new();
    let cut = "{contexts: [{name: a}, {name: b, context: {cluster: x, user: me}}]}";
    fs::write(world.path("k"), cut).unwrap();
    world.write(&of(&["a", "b"]));
    let file = world.path("k").display().to_string();
    let words = format!("cannot be used, in the kubeconfig {file}: context \"b\" names the user \"me\"");
    world.refuses(&[&words]).await;
    assert_eq!(world.fleet.borrow().clusters.len(), 1, "the last good fleet is in force");
    world.end().await;
}

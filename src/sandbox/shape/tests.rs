use super::*;
#[test]
fn dump() {
    fn go(s: &Shape, depth: usize, out: &mut BTreeMap<String, ()>, path: String) {
        out.insert(path.clone(), ());
        match s { Shape::Struct(s) => for (n, f) in &s.fields { go(&f.shape, depth+1, out, format!("{path}.{n}")) },
          Shape::Map(v) => go(v, depth+1, out, format!("{path}.*")),
          Shape::Atomic(v) => go(v, depth, out, path),
          Shape::List(v)|Shape::Set(v)|Shape::Keyed{item: v,..} => go(v, depth+1, out, format!("{path}[]")),
          _ => {} }
    }
    for (a,k) in [("v1","Namespace"),("v1","Pod"),("v1","Service"),("v1","Secret"),("v1","ConfigMap"),("v1","PersistentVolumeClaim"),("v1","Event"),("v1","ServiceAccount"),("v1","Node"),("apps/v1","StatefulSet"),("apps/v1","ControllerRevision"),("networking.k8s.io/v1","NetworkPolicy"),("policy/v1","PodDisruptionBudget"),("coordination.k8s.io/v1","Lease"),("events.k8s.io/v1","Event"),("apiextensions.k8s.io/v1","CustomResourceDefinition")] {
        let mut out = BTreeMap::new();
        go(&Shape::of_builtin(a,k).unwrap(), 0, &mut out, format!("{a} {k}"));
        for p in out.keys() { println!("PATH {p}"); }
    }
}

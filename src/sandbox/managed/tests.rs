use serde_json::{Value, json};

use super::*;

/// Requests of our own that a real server (Kubernetes 1.36) answered, with the object before and after each; times
/// are normalised. A step whose object before is the one after the last step leaves it out.
fn recorded() -> Value {
    serde_json::from_str(include_str!("cases.json")).unwrap()
}

fn shape_of(case: &Value) -> std::sync::Arc<Shape> {
    let text = |key: &str| case[key].as_str().unwrap();
    Shape::of_builtin(text("apiVersion"), text("kind")).unwrap_or_else(|| {
        let crd: Value = serde_yaml::from_str(include_str!("../../../deploy/crd.yaml")).unwrap();
        Shape::of_crd(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]).into()
    })
}

fn writer<'a>(case: &'a Value, step: &'a Value) -> Writer<'a> {
    Writer {
        manager: step["manager"].as_str().unwrap(),
        subresource: step["subresource"].as_str().unwrap_or_default(),
        api_version: case["apiVersion"].as_str().unwrap(),
        not_written: &[],
        now: step["now"].as_str().map_or(Timestamp::UNIX_EPOCH, |now| now.parse().unwrap()),
    }
}

#[test]
fn recorded_requests_are_answered_as_the_server_answered_them() {
    let mut wrong = vec![];
    for case in recorded().as_array().unwrap() {
        let shape = shape_of(case);
        let mut last = Value::Null;
        for (index, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let live = step.get("live").unwrap_or(&last).clone();
            let outcome = replay(case, step, &shape, Some(&live).filter(|live| !live.is_null()));
            if let Err(difference) = outcome {
                wrong.push(format!("{}, step {index}: {difference}", case["title"]));
            }
            last = step.get("result").unwrap_or(&live).clone();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn replay(case: &Value, step: &Value, shape: &Shape, live: Option<&Value>) -> Result<(), String> {
    let writer = writer(case, step);
    let mut new = if let Some(config) = step.get("apply") {
        match apply(live, config, shape, &writer, step["force"] == true) {
            Ok(new) => new,
            Err(error) => {
                return same(
                    &answer(&error),
                    &json!({
                        "message": step["error"]["message"],
                        "causes": by_text(step["error"]["causes"].as_array().cloned().unwrap_or_default()),
                    }),
                );
            }
        }
    } else {
        let mut new = step["new"].clone();
        if new == "result" {
            new = step["result"].clone();
            take_ownership(&mut new);
        }
        track_update(live, &mut new, shape, &writer);
        new
    };
    let result = &step["result"];
    if let Some(live) = live {
        // What the server adds after ownership is settled is not ours to add, but settles whether anything changed.
        let mut finished = result.clone();
        take_ownership(&mut finished);
        if let Some(mine) = ownership(&new) {
            put_ownership(&mut finished, &mine);
        }
        settle_times(live, &mut finished);
        put_ownership(&mut new, &ownership(&finished).unwrap_or_default());
    }
    same(&new["metadata"]["managedFields"], &result["metadata"]["managedFields"])?;
    // An update is taken as it is.
    if step.get("apply").is_none() {
        return Ok(());
    }
    agrees(&new, result, live.unwrap_or(&Value::Null), "")
}

fn answer(error: &ApplyError) -> Value {
    let causes = if let ApplyError::Conflicts(conflicts) = error { causes(conflicts) } else { vec![] };
    json!({"message": error.to_string(), "causes": by_text(causes)})
}

/// The server reports the managers of conflicts in any order.
fn by_text(mut causes: Vec<Value>) -> Vec<Value> {
    causes.sort_by_key(Value::to_string);
    causes
}

fn same(mine: &Value, theirs: &Value) -> Result<(), String> {
    if mine == theirs { Ok(()) } else { Err(format!("\n  mine   {mine}\n  server {theirs}")) }
}

/// Whether the server has what is in my object, and besides it only what it may have filled in since.
fn agrees(mine: &Value, server: &Value, live: &Value, path: &str) -> Result<(), String> {
    if path == ".metadata" {
        let kept = ["labels", "annotations", "finalizers"];
        return kept.iter().try_for_each(|key| same(&mine[key], &server[key]));
    }
    match (mine, server) {
        (Value::Object(mine), Value::Object(server)) => {
            for (key, value) in mine.iter().filter(|(_, value)| !value.is_null() && **value != json!({})) {
                let theirs = server.get(key).unwrap_or(&Value::Null);
                agrees(value, theirs, &live[key], &format!("{path}.{key}"))?;
            }
            let kept =
                |key: &String| live.get(key).is_some() && live[key] == server[key] && !live[key].is_null();
            match server.keys().find(|key| kept(key) && mine.get(*key).is_none_or(Value::is_null)) {
                Some(key) => Err(format!("{path}.{key} is gone")),
                None => Ok(()),
            }
        }
        (Value::Array(mine), Value::Array(server)) if mine.len() == server.len() => {
            let items = mine.iter().zip(server).enumerate();
            items.into_iter().try_for_each(|(index, (mine, server))| {
                agrees(mine, server, &Value::Null, &format!("{path}[{index}]"))
            })
        }
        _ => same(mine, server).map_err(|difference| format!("{path}{difference}")),
    }
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data})
}

fn by(manager: &'static str, second: i64) -> Writer<'static> {
    Writer {
        manager,
        subresource: "",
        api_version: "v1",
        not_written: &[],
        now: Timestamp::from_second(second).unwrap(),
    }
}

fn shape() -> std::sync::Arc<Shape> {
    Shape::of_builtin("v1", "ConfigMap").unwrap()
}

#[test]
fn applying_again_later_changes_nothing() {
    let config = config_map(&json!({"a": "1"}));
    let once = apply(None, &config, &shape(), &by("app", 1), false).unwrap();
    let twice = apply(Some(&once), &config, &shape(), &by("app", 9), false).unwrap();
    assert_eq!(once, twice);
}

#[test]
fn an_apply_without_a_change_joins_the_owners_without_a_time() {
    let config = config_map(&json!({"a": "1"}));
    let first = apply(None, &config, &shape(), &by("a", 1), false).unwrap();
    let second = apply(Some(&first), &config, &shape(), &by("b", 2), false).unwrap();
    let entries = second["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!((&entries[0]["manager"], entries[0].get("time")), (&json!("b"), None));
    assert_eq!(entries[1]["manager"], "a");
}

#[test]
fn times_settle_only_where_nothing_else_differs() {
    let live = apply(None, &config_map(&json!({"a": "1"})), &shape(), &by("a", 1), false).unwrap();
    let mut later = live.clone();
    later["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z".into();
    let mut other = later.clone();
    settle_times(&live, &mut later);
    assert_eq!(later, live);
    other["data"]["a"] = "2".into();
    settle_times(&live, &mut other);
    assert_ne!(other["metadata"]["managedFields"], live["metadata"]["managedFields"]);
}

#[test]
fn a_status_request_cannot_rewrite_ownership() {
    let live = apply(None, &config_map(&json!({"a": "1"})), &shape(), &by("a", 1), false).unwrap();
    let mut new = live.clone();
    new["metadata"]["managedFields"] = json!([]);
    track_update(Some(&live), &mut new, &shape(), &Writer { subresource: "status", ..by("b", 2) });
    assert_eq!(new, live);
}

#[test]
fn items_that_only_the_object_has_keep_their_places_between_the_applied_ones() {
    let shape = Shape::Set(Shape::Scalar(crate::sandbox::shape::Scalar::String).into());
    let merged = |old: Value, new: Value| merge::merge(&shape, Some(&old), Some(&new)).unwrap();
    assert_eq!(merged(json!(["a", "b", "c"]), json!(["c", "a"])), json!(["b", "c", "a"]));
    assert_eq!(merged(json!(["a", "b", "c"]), json!(["x", "b"])), json!(["a", "x", "b", "c"]));
    assert_eq!(merged(json!([]), json!(["x", "b"])), json!(["x", "b"]));
}

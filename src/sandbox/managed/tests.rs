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
        now: step["now"].as_str().map_or(Timestamp::UNIX_EPOCH, |now| now.parse().unwrap()),
    }
}

#[test]
fn recorded_requests_are_answered_as_the_server_answered_them() {
    let mut wrong = String::new();
    for case in recorded().as_array().unwrap() {
        let shape = shape_of(case);
        let mut last = Value::Null;
        for (index, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let live = step.get("live").unwrap_or(&last).clone();
            let outcome = replay(case, step, &shape, Some(&live).filter(|live| !live.is_null()));
            if let Err(difference) = outcome {
                wrong.push_str(&format!("{}, step {index}: {difference}\n", case["title"]));
            }
            last = step.get("result").unwrap_or(&live).clone();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn replay(case: &Value, step: &Value, shape: &Shape, live: Option<&Value>) -> Result<(), String> {
    let writer = writer(case, step);
    let mut new = if let Some(config) = step.get("apply") {
        match apply(live, config, shape, &writer, step["force"] == true) {
            Ok(new) => new,
            Err(error) => return same(&answer(&error), &json!({
                "message": step["error"]["message"],
                "causes": by_text(step["error"]["causes"].as_array().cloned().unwrap_or_default()),
            })),
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
            let kept = |key: &String| live.get(key).is_some() && live[key] == server[key] && !live[key].is_null();
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

//! What can be asked, for machines (OpenAPI 3.1).

use axum::response::Json;
use serde_json::{Map, Value, json};

/// GET /openapi.json.
pub(crate) async fn document() -> Json<Value> {
    let mut paths = Map::new();
    for (path, methods) in PATHS {
        let names: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')).collect();
        let parameters: Vec<Value> = names
            .iter()
            .map(|name| {
                let name = name.trim_end_matches('}');
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
            })
            .collect();
        let mut item = Map::new();
        for (method, summary, query) in *methods {
            let mut all = parameters.clone();
            for name in *query {
                all.push(json!({"name": name, "in": "query", "schema": {"type": "string"}}));
            }
            let operation = json!({
                "summary": summary,
                "parameters": all,
                "responses": {
                    "200": {"description": "done"},
                    "default": {
                        "description": "a problem document (RFC 9457)",
                        "content": {"application/problem+json": {"schema": {"type": "object"}}},
                    },
                },
            });
            item.insert((*method).to_owned(), operation);
        }
        paths.insert((*path).to_owned(), Value::Object(item));
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Banyan", "version": env!("CARGO_PKG_VERSION")},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
        "paths": paths,
    }))
}

type Operation = (&'static str, &'static str, &'static [&'static str]);

const PATHS: &[(&str, &[Operation])] = &[
    ("/v1/{kind}", &[("get", "every resource of a kind: {items, next}", &["format"])]),
    (
        "/v1/{kind}/{name}",
        &[
            ("get", "one resource, with every key", &["format", "describe"]),
            ("put", "puts one resource in place, TOML or JSON", &["dry_run"]),
            ("delete", "removes a resource, unless others name it", &[]),
        ],
    ),
    ("/v1/apply", &[("post", "puts a file of resources in place, all or nothing", &["dry_run"])]),
    ("/v1/backup", &[("get", "what outlives the cluster, as a file for `restore`", &[])]),
    ("/v1/restore", &[("post", "puts a backup into an empty cluster", &[])]),
    ("/v1/calls", &[("get", "the live calls of the whole cluster", &[])]),
    ("/v1/calls/{id}", &[("get", "one call", &[]), ("delete", "ends a call", &[])]),
    ("/v1/cdrs", &[("get", "call detail records, oldest first", &["since", "limit", "trunk", "call_id"])]),
    ("/v1/cdrs/{id}", &[("get", "one call detail record", &[])]),
    ("/v1/status", &[("get", "whether the cluster decides, who leads, how each node is", &[])]),
    (
        "/v1/nodes",
        &[("get", "the nodes", &[]), ("post", "lets a node in: {\"id\": 4, \"address\": \"IP:PORT\"}", &[])],
    ),
    (
        "/v1/nodes/{name}",
        &[("get", "one node", &[]), ("delete", "removes a node that is drained, or dead", &["force"])],
    ),
    ("/v1/nodes/{name}/drain", &[("post", "moves a node's homes and calls to others", &[])]),
    ("/v1/nodes/{name}/resume", &[("post", "lets a drained node take homes again", &[])]),
    ("/v1/homes", &[("get", "the homes and their holders", &[])]),
    ("/v1/homes/{name}", &[("get", "one home", &[])]),
    (
        "/v1/registrations",
        &[("get", "where accounts of trunks are registered with us, and ours with carriers", &[])],
    ),
    ("/v1/registrations/{name}", &[("get", "where one account is registered", &[])]),
    ("/metrics", &[("get", "figures for Prometheus", &[])]),
    ("/livez", &[("get", "whether the process lives; no token needed", &[])]),
    ("/readyz", &[("get", "whether new calls are taken; no token needed", &[])]),
];

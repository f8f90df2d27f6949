//! Devices from CSV. An import takes its file whole, within limits, before it begins: a caller that
//! reads nothing until it has sent everything would otherwise wait for us as we for it. What becomes of the rows
//! is told in lines of JSON while it happens.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleet::{DeviceEdit, FleetError, NewDevice};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use model::{AppId, MetaEdit, Value, limits, meta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::audit::{self, GoesOn};
use crate::auth::Operator;
use crate::csv::{self, Reader, Record};
use crate::openapi::shape;
use crate::problem::Problem;
use crate::{Api, input};

/// Rows that are written together: one wait for the disk.
const BATCH: usize = 500;
/// One file at a time is held in memory.
static IMPORTS: Semaphore = Semaphore::const_new(1);

/// Columns of an export. An import reads the first kind and passes over the second.
const WRITABLE: [&str; 7] = ["id", "app", "name", "alias", "tags", "open", "secret"];
const TOLD: [&str; 8] = ["number", "firmware", "blocked", "created", "online", "since", "protocol", "remote"];

/// What a column is.
#[derive(Clone, Debug, PartialEq)]
enum Column {
    /// One of [`WRITABLE`].
    Known(&'static str),
    /// What owners wrote down under a name.
    Meta(String),
    /// Passed over.
    Told,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Only devices that there are not.
    Create,
    /// Only devices that there are.
    Update,
    /// Either.
    #[default]
    Upsert,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// `create`, `update`, or `upsert`, which is both.
    #[serde(default)]
    #[schemars(with = "shape::ImportMode")]
    mode: Mode,
    /// Look at every row and write nothing.
    #[serde(default)]
    dry_run: bool,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Mode::Create => "create",
            Mode::Update => "update",
            Mode::Upsert => "upsert",
        }
    }
}

/// How far an import is.
#[derive(Clone, Default, Serialize)]
struct Counts {
    rows: usize,
    of: usize,
    created: usize,
    updated: usize,
    failed: usize,
}

impl Counts {
    /// For the audit log.
    fn told(&self) -> Vec<String> {
        let Counts { rows, of, created, updated, failed } = self;
        let figures = [("rows", rows), ("of", of), ("created", created), ("updated", updated), ("failed", failed)];
        figures.map(|(name, count)| format!("{name}={count}")).into()
    }
}

pub(crate) async fn import(
    State(api): State<Api>,
    _: Operator,
    input::Query(how): input::Query<How>,
    request: Request,
) -> Result<Response, Problem> {
    audit::asked(vec![format!("mode={}", how.mode.as_str()), format!("dry_run={}", how.dry_run)]);
    let goes_on = GoesOn::this();
    let Ok(turn) = IMPORTS.acquire().await else { unreachable!("it is never closed") };
    let whole = tokio::time::timeout(Duration::from_secs(limits::IMPORT_BODY_S_MAX), read(request)).await;
    let text = whole.map_err(|_| {
        let detail = format!("the file did not arrive within {} s", limits::IMPORT_BODY_S_MAX);
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
    })??;
    let (columns, of) = look(&text)?;
    let (say, said) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut import = Import { api, how, columns, say, counts: Counts { of, ..Counts::default() }, seen: HashMap::new() };
        // Fails when nobody listens any more: then it ends with the rows that were begun.
        let _ = import.run(&text).await;
        goes_on.ends(&import.api, import.counts.told()).await;
        drop(turn);
    });
    let lines = stream::unfold(said, async |mut said: mpsc::Receiver<Bytes>| Some((said.recv().await?, said)));
    let body = Body::from_stream(lines.map(Ok::<_, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn read(request: Request) -> Result<String, Problem> {
    let mut body = request.into_body().into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = body.next().await {
        whole.extend_from_slice(&chunk.map_err(|_| Problem::bad("bad_body", "the body did not arrive whole"))?);
        if whole.len() > limits::IMPORT_BYTES_MAX {
            let detail = format!("a file has at most {} bytes", limits::IMPORT_BYTES_MAX);
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
                .hint("split it, each part with the first line"));
        }
    }
    String::from_utf8(whole).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem::bad("bad_csv", format!("line {line} is not UTF-8")).hint("save the file as \"CSV UTF-8\"")
    })
}

/// The columns by their place, and how many rows follow.
fn look(text: &str) -> Result<(Vec<Column>, usize), Problem> {
    let mut reader = Reader::new(text);
    let head = match reader.next() {
        Some(Ok(head)) => head.fields,
        Some(Err(broken)) => return Err(Problem::bad("bad_csv", format!("line {}: {}", broken.line, broken.why))),
        None => {
            return Err(
                Problem::bad("bad_csv", "the file is empty").hint("its first line names the columns, such as id,app,name,tags")
            );
        }
    };
    let mut columns = Vec::new();
    for name in &head {
        let column = column(name.trim()).ok_or_else(|| {
            Problem::bad("bad_column", format!("there is no column {:?}", name.trim())).hint(format!(
                "the first line names the columns: {}, and meta. with a name of yours; those that an export has besides are passed over",
                WRITABLE.join(", ")
            ))
        })?;
        if column != Column::Told && columns.contains(&column) {
            return Err(Problem::bad("bad_column", format!("the column {} is there twice", name.trim())));
        }
        columns.push(column);
    }
    if !columns.contains(&Column::Known("id")) && !columns.contains(&Column::Known("app")) {
        return Err(Problem::bad("bad_column", "the first line must name the columns, id or app among them"));
    }
    let rows = reader.count();
    if rows > limits::IMPORT_ROWS_MAX {
        let detail = format!("the file has {rows} rows; at most {} are taken at once", limits::IMPORT_ROWS_MAX);
        return Err(Problem::bad("too_many_rows", detail).hint("split it, each part with the first line"));
    }
    Ok((columns, rows))
}

fn column(name: &str) -> Option<Column> {
    if let Some(own) = name.strip_prefix("meta.") {
        return meta::is_meta_name(own).then(|| Column::Meta(own.to_owned()));
    }
    let name = name.to_ascii_lowercase();
    let known = WRITABLE.into_iter().find(|known| *known == name).map(Column::Known);
    known.or_else(|| TOLD.contains(&name.as_str()).then_some(Column::Told))
}

/// A row that is wrong.
struct Bad {
    code: &'static str,
    detail: String,
}

impl Bad {
    fn new(code: &'static str, detail: impl Into<String>) -> Bad {
        Bad { code, detail: detail.into() }
    }
}

impl From<FleetError> for Bad {
    fn from(error: FleetError) -> Bad {
        Bad { code: error.code(), detail: error.to_string() }
    }
}

/// What a row asks for.
enum Row {
    New(NewDevice),
    Known(String, DeviceEdit),
}

struct Import {
    api: Api,
    how: How,
    columns: Vec<Column>,
    say: mpsc::Sender<Bytes>,
    counts: Counts,
    /// The ids so far, with their lines.
    seen: HashMap<String, u64>,
}

/// Nobody listens any more.
struct Gone;

impl Import {
    async fn run(&mut self, text: &str) -> Result<(), Gone> {
        let mut records = Reader::new(text).skip(1);
        loop {
            let batch: Vec<_> = records.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                let counts = self.counts.clone();
                return self.tell(&json!({ "done": counts, "dry_run": self.how.dry_run })).await;
            }
            self.counts.rows += batch.len();
            self.batch(batch).await?;
            let counts = self.counts.clone();
            self.tell(&json!({ "progress": counts })).await?;
        }
    }

    async fn batch(&mut self, batch: Vec<Result<Record, csv::Broken>>) -> Result<(), Gone> {
        let (mut news, mut edits) = (Vec::new(), Vec::new());
        for record in batch {
            let (line, id, row) = match record {
                Ok(record) => {
                    let id = self.cell(&record, "id").unwrap_or_default();
                    (record.line, id, self.row(&record))
                }
                Err(broken) => (broken.line, String::new(), Err(Bad::new("bad_csv", broken.why))),
            };
            match row {
                Ok(Row::New(new)) => news.push((line, new)),
                Ok(Row::Known(id, edit)) => edits.push((line, id, edit)),
                Err(bad) => self.failed(line, &id, bad).await?,
            }
        }
        let fleet = self.api.fleet.clone();
        let has_secret: Vec<bool> = news.iter().map(|(_, new)| new.secret.is_some()).collect();
        let made: Vec<_> = if self.how.dry_run {
            news.into_iter()
                .map(|(line, new)| {
                    let id = new.id.clone().unwrap_or_default();
                    (line, id, fleet.check_new(&new).map(|()| None))
                })
                .collect()
        } else {
            join_all(news.into_iter().map(async |(line, new)| {
                let id = new.id.clone().unwrap_or_default();
                (line, id, fleet.create_device(new).await.map(Some))
            }))
            .await
        };
        for ((line, id, made), has_secret) in made.into_iter().zip(has_secret) {
            match made {
                Ok(made) => {
                    self.counts.created += 1;
                    // One that was made here is told this once.
                    if let Some((view, secret)) = made.filter(|_| !has_secret) {
                        self.tell(&json!({ "line": line, "id": view.device.id, "secret": secret })).await?;
                    }
                }
                Err(error) => self.failed(line, &id, error.into()).await?,
            }
        }
        let lines: Vec<(u64, String)> = edits.iter().map(|(line, id, _)| (*line, id.clone())).collect();
        let edits: Vec<(String, DeviceEdit)> = edits.into_iter().map(|(_, id, edit)| (id, edit)).collect();
        let edited: Vec<Result<(), FleetError>> = if self.how.dry_run {
            edits.iter().map(|(id, edit)| fleet.check_edit(id, edit)).collect()
        } else {
            fleet.edit_devices(edits).await.into_iter().map(|edited| edited.map(drop)).collect()
        };
        for ((line, id), edited) in lines.into_iter().zip(edited) {
            match edited {
                Ok(()) => self.counts.updated += 1,
                Err(error) => self.failed(line, &id, error.into()).await?,
            }
        }
        Ok(())
    }

    /// What a column says in a row; `None` if the file does not have the column.
    fn cell(&self, record: &Record, name: &str) -> Option<String> {
        let at = self.columns.iter().position(|column| matches!(column, Column::Known(known) if *known == name))?;
        let field = record.fields.get(at)?;
        // A secret may begin as it likes: none is ever exported.
        Some(if name == "secret" { field.clone() } else { csv::text(field).trim().to_owned() })
    }

    /// What the file says of what is written down; an empty field strikes out.
    fn meta(&self, record: &Record) -> MetaEdit {
        let own = self.columns.iter().zip(&record.fields).filter_map(|(column, field)| match column {
            Column::Meta(name) => Some((name.clone(), csv::text(field).trim())),
            _ => None,
        });
        own.map(|(name, field)| (name, (!field.is_empty()).then(|| Value::from_plain(field)))).collect()
    }

    fn row(&mut self, record: &Record) -> Result<Row, Bad> {
        if record.fields.len() != self.columns.len() {
            let detail = format!("the row has {} fields, the first line {}", record.fields.len(), self.columns.len());
            return Err(Bad::new("bad_row", detail));
        }
        let id = self.cell(record, "id").filter(|id| !id.is_empty());
        if let Some(id) = &id
            && let Some(before) = self.seen.insert(id.clone(), record.line)
        {
            // The first one counts, and the next is compared with it too.
            self.seen.insert(id.clone(), before);
            return Err(Bad::new("duplicate_id", format!("line {before} has this id already")));
        }
        let app = match self.cell(record, "app").filter(|app| !app.is_empty()) {
            None => None,
            Some(app) => Some(AppId(app.parse().map_err(|_| Bad::new("bad_app_id", format!("{app:?} is not an app's number")))?)),
        };
        let open = match self.cell(record, "open").map(|open| open.to_ascii_lowercase()).as_deref() {
            None => None,
            Some("true" | "1" | "yes") => Some(true),
            Some("false" | "0" | "no" | "") => Some(false),
            Some(other) => return Err(Bad::new("bad_field", format!("open is true or false, not {other:?}"))),
        };
        let tags = self.cell(record, "tags").map(|tags| split_tags(&tags));
        let (name, alias) = (self.cell(record, "name"), self.cell(record, "alias"));
        let meta = self.meta(record);
        let secret = self.cell(record, "secret").filter(|secret| !secret.is_empty());
        let known = id.as_deref().and_then(|id| self.api.fleet.device(id));
        match (known, self.how.mode) {
            (Some(known), Mode::Create) => Err(FleetError::DeviceIdTaken(known.device.id).into()),
            (Some(known), _) => {
                if app.is_some_and(|app| app != known.device.app) {
                    return Err(Bad::new(
                        "app_differs",
                        format!("the device belongs to app {}; that cannot be changed", known.device.app),
                    ));
                }
                if secret.is_some() {
                    return Err(Bad::new(
                        "secret_given",
                        "a device that is there keeps its secret; POST /api/v1/devices/{id}/secret gives it a new one",
                    ));
                }
                Ok(Row::Known(known.device.id.as_str().to_owned(), DeviceEdit { name, alias, tags, meta, open, blocked: None }))
            }
            (None, Mode::Update) => Err(FleetError::NoSuchDevice(id.unwrap_or_default()).into()),
            (None, _) => {
                let app = app.ok_or_else(|| Bad::new("app_missing", "a new device needs its app"))?;
                let (name, alias) = (name.unwrap_or_default(), alias.unwrap_or_default());
                Ok(Row::New(NewDevice {
                    app,
                    id,
                    name,
                    alias,
                    tags: tags.unwrap_or_default(),
                    meta: meta.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
                    open: open.unwrap_or(false),
                    secret,
                }))
            }
        }
    }

    async fn failed(&mut self, line: u64, id: &str, Bad { code, detail }: Bad) -> Result<(), Gone> {
        self.counts.failed += 1;
        self.tell(&json!({ "line": line, "id": id, "code": code, "detail": detail })).await
    }

    async fn tell(&self, line: &serde_json::Value) -> Result<(), Gone> {
        self.say.send(format!("{line}\n").into()).await.map_err(|_| Gone)
    }
}

/// Tags are divided by semicolons; one within a tag has a backslash before it.
fn split_tags(text: &str) -> Vec<String> {
    let mut tags = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = tags.last_mut().expect("there is always one");
        match c {
            '\\' => last.extend(chars.next()),
            ';' => tags.push(String::new()),
            c => last.push(c),
        }
    }
    tags.into_iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
}

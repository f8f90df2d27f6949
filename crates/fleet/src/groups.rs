//! Groups: queries under a name, which lists, pushes and other queries may ask for. They name each other without
//! circles; one that others name can be neither removed nor renamed, so that a query that was taken stays one.

use std::collections::BTreeMap;

use contract::store::StoredGroup;
use model::query::GroupError;
use model::{Query, UnixMs, limits, text};

use crate::{Fleet, FleetError};

/// A group as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its query as its owner wrote it.
    pub query: String,
    /// When it was made.
    pub created: UnixMs,
    /// The groups that name it.
    pub users: Vec<String>,
}

/// All groups.
#[derive(Default)]
pub(crate) struct Groups(BTreeMap<String, Kept>);

#[derive(Clone)]
struct Kept {
    text: String,
    query: Query,
    created: UnixMs,
}

impl Groups {
    pub(crate) fn new(stored: Vec<StoredGroup>) -> Groups {
        let mut groups = Groups::default();
        for StoredGroup { name, query, created } in stored {
            match Query::parse(&query) {
                Ok(parsed) => drop(groups.0.insert(name, Kept { text: query, query: parsed, created })),
                // Nothing else is worth less for it.
                Err(error) => tracing::warn!(group = %name, %error, "a group's query cannot be read any more and is left out"),
            }
        }
        groups
    }

    fn view(&self, name: &str, kept: &Kept) -> GroupView {
        GroupView { name: name.to_owned(), query: kept.text.clone(), created: kept.created, users: self.users(name) }
    }

    /// The groups that name this one.
    fn users(&self, name: &str) -> Vec<String> {
        let naming = self.0.iter().filter(|(_, kept)| kept.query.groups().contains(&name));
        naming.map(|(user, _)| user.clone()).collect()
    }

    fn expand(&self, query: Query) -> Result<Query, FleetError> {
        query.expanded(&|name| self.0.get(name).map(|kept| kept.query.clone())).map_err(FleetError::from)
    }

    /// A way from a query back to a group, if there is one.
    fn circle(&self, from: &Query, to: &str) -> bool {
        let (mut open, mut seen) = (from.groups(), std::collections::HashSet::new());
        while let Some(name) = open.pop() {
            if name == to {
                return true;
            }
            if seen.insert(name) {
                open.extend(self.0.get(name).map(|kept| kept.query.groups()).unwrap_or_default());
            }
        }
        false
    }
}

impl From<GroupError> for FleetError {
    fn from(error: GroupError) -> FleetError {
        match error {
            GroupError::Unknown(name) => FleetError::NoSuchGroup(name),
            error => FleetError::GroupsTooMuch(error),
        }
    }
}

impl Fleet {
    /// All groups by name.
    pub fn groups(&self) -> Vec<GroupView> {
        let groups = self.groups.read();
        groups.0.iter().map(|(name, kept)| groups.view(name, kept)).collect()
    }

    /// One group.
    pub fn group(&self, name: &str) -> Option<GroupView> {
        let groups = self.groups.read();
        groups.0.get(name).map(|kept| groups.view(name, kept))
    }

    /// A query with every group that it names as what that stands for now.
    pub fn expand(&self, query: Query) -> Result<Query, FleetError> {
        self.groups.read().expand(query)
    }

    /// Makes a group.
    pub async fn create_group(&self, name: String, text: String, query: Query) -> Result<GroupView, FleetError> {
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            {
                let groups = fleet.groups.read();
                if groups.0.contains_key(&name) {
                    return Err(FleetError::GroupTaken(name));
                }
                if groups.0.len() >= limits::GROUPS_MAX {
                    return Err(FleetError::Limit { what: "groups", max: limits::GROUPS_MAX });
                }
            }
            let created = fleet.clock.unix();
            fleet.put_group(None, name, Kept { text, query, created }).await
        })
        .await
    }

    /// Gives a group another name, if nothing names it, or another query.
    pub async fn edit_group(
        &self,
        name: &str,
        new_name: Option<String>,
        query: Option<(String, Query)>,
    ) -> Result<GroupView, FleetError> {
        let name = name.to_owned();
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            let mut kept = fleet.groups.read().0.get(&name).cloned().ok_or_else(|| FleetError::NoSuchGroup(name.clone()))?;
            if let Some((text, query)) = query {
                (kept.text, kept.query) = (text, query);
            }
            let new_name = new_name.unwrap_or_else(|| name.clone());
            if new_name != name {
                fleet.unused(&name)?;
                if fleet.groups.read().0.contains_key(&new_name) {
                    return Err(FleetError::GroupTaken(new_name));
                }
            }
            fleet.put_group(Some(name), new_name, kept).await
        })
        .await
    }

    /// Removes a group that no other names.
    pub async fn delete_group(&self, name: &str) -> Result<(), FleetError> {
        let name = name.to_owned();
        self.to_its_end(|fleet| async move {
            let _turn = fleet.edits.lock().await;
            if !fleet.groups.read().0.contains_key(&name) {
                return Err(FleetError::NoSuchGroup(name));
            }
            fleet.unused(&name)?;
            fleet.registry.delete_group(name.clone()).await?;
            fleet.groups.write().0.remove(&name);
            Ok(())
        })
        .await
    }

    fn unused(&self, name: &str) -> Result<(), FleetError> {
        let users = self.groups.read().users(name);
        if users.is_empty() { Ok(()) } else { Err(FleetError::GroupInUse { name: name.to_owned(), users: users.join(", ") }) }
    }

    /// With `edits` held.
    async fn put_group(&self, before: Option<String>, name: String, kept: Kept) -> Result<GroupView, FleetError> {
        if !text::is_name(&name) {
            return Err(FleetError::BadName);
        }
        {
            let groups = self.groups.read();
            if [Some(name.as_str()), before.as_deref()].into_iter().flatten().any(|own| groups.circle(&kept.query, own)) {
                return Err(FleetError::GroupCircle(name));
            }
            // What could never be carried out is not kept; nor what would make others so.
            groups.expand(kept.query.clone())?;
            let mut after = Groups(groups.0.clone());
            after.0.insert(name.clone(), kept.clone());
            for other in after.0.values() {
                after.expand(other.query.clone())?;
            }
        }
        let stored = StoredGroup { name: name.clone(), query: kept.text.clone(), created: kept.created };
        let renamed = before.filter(|before| *before != name);
        self.registry.put_group(stored, renamed.clone()).await?;
        let mut groups = self.groups.write();
        if let Some(before) = renamed {
            groups.0.remove(&before);
        }
        let view = groups.view(&name, &kept);
        groups.0.insert(name, kept);
        Ok(view)
    }
}

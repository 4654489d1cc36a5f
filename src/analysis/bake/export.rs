//! A model with edits in its weights as a folder: written, read again, compared, and only then in its place.

use std::path::Path;

use serde::Serialize;

use super::{Baked, Texts, Verified, bake, card, verify};
use crate::models::{Model, OpenOptions};
use crate::report::{Block, Cell, Column, Report, Table};
use crate::store::{Bundle, ModelFolder, write_atomic};
use crate::{Error, Result};

/// Baking, writing, comparing.
const STAGES: usize = 3;

/// What an export wrote.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// The folder.
    pub out: std::path::PathBuf,
    /// sha256 over its files.
    pub sha256: String,
    /// What changed, by tensor.
    pub changes: Vec<super::Change>,
    /// Whether the unembedding had to be untied from the embeddings.
    pub untied: bool,
    /// The weights against the edited run.
    pub verified: Verified,
}

/// Writes `model` with the edits of `bundle` in its weights to the folder `out`, which must not exist. Logits on `texts`
/// must be those of the edited run, or differ by no more than the share `rounding` of what the edits do. `watch` hears
/// (stages done, stages in all) and ends the work with an error.
///
/// # Errors
/// A folder that exists, edits that the family has no weights for, weights that do not do what the edits do: then nothing
/// is written.
pub fn export(
    model: &Model,
    bundle: &Bundle,
    options: &OpenOptions,
    (texts, rounding): (&Texts, f64),
    out: &Path,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Exported> {
    if out.symlink_metadata().is_ok() {
        return Err(Error::file(out, "this exists already", "name a folder that does not exist"));
    }
    watch(0, STAGES)?;
    let baked = bake(model, bundle)?;
    watch(1, STAGES)?;
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let folder = tempfile::Builder::new().prefix(".optrode-").tempdir_in(parent).map_err(Error::io(parent))?;
    baked.write(model, folder.path())?;
    watch(2, STAGES)?;
    let edited = Model::open(&folder.path().display().to_string(), options)?;
    let verified = verify(model, bundle, &edited, texts, rounding)?;
    if !verified.holds {
        return Err(Error::invalid(
            format!(
                "the exported weights do not do what the edits do: logits differ by {:.1e}, KL {:.1e} nats per token",
                verified.logits, verified.kl
            ),
            "nothing was written; raise --rounding if that of the stored type is meant to pass",
        ));
    }
    let readme = folder.path().join("README.md");
    let text = card(model, bundle, &baked, &verified)?;
    write_atomic(&readme, |file| std::io::Write::write_all(file, text.as_bytes()).map_err(Error::io(&readme)))?;
    readable(folder.path())?;
    std::fs::rename(folder.path(), out).map_err(Error::io(out))?;
    let Baked { changes, untied, .. } = baked;
    let sha256 = ModelFolder::open(out)?.identity()?.sha256;
    Ok(Exported { out: out.to_path_buf(), sha256, changes, untied, verified })
}

/// A temporary folder is private; a written one should be as readable as any other of the user.
#[cfg(unix)]
fn readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).map_err(Error::io(folder))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> Result<()> {
    Ok(())
}

impl Report for Exported {
    fn blocks(&self) -> Vec<Block> {
        let columns = ["tensor", "values", "changed", "largest difference", "rounding"].map(Column::new).to_vec();
        let row = |c: &super::Change| {
            vec![
                Cell::text(&c.tensor),
                Cell::count(c.of),
                Cell::count(c.changed),
                Cell::Error(c.largest),
                Cell::Error(c.rounding),
            ]
        };
        let mut blocks = vec![Block::Table(Table { columns, rows: self.changes.iter().map(row).collect() })];
        if self.untied {
            blocks.push(Block::text("The unembedding was tied to the embeddings; it is now a tensor of its own."));
        }
        blocks.push(Block::text(format!("Written to {}, sha256 {}.", self.out.display(), self.sha256)));
        blocks.extend(self.verified.blocks());
        blocks
    }
}

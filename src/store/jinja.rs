//! Jinja within bounds, for templates that others wrote: limited steps, limited output, no files.

use minijinja::{Environment, Error, ErrorKind, Template, Value};

/// Steps that a template may take. Long conversations take some thousands.
pub(crate) const FUEL: u64 = 2_000_000;
/// Bytes of text that a template may produce.
const MAX_OUTPUT: usize = 16 << 20;

/// An environment with the bounds, without escaping, with the methods of Python's strings and dictionaries.
pub(crate) fn environment<'a>() -> Environment<'a> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env
}

/// The text of a template for these values.
pub(crate) fn render(template: &Template, values: Value) -> Result<String, Error> {
    let mut out = Bounded(Vec::new());
    template.render_captured_to(values, &mut out)?;
    String::from_utf8(out.0).map_err(|e| Error::new(ErrorKind::WriteFailure, format!("no UTF-8: {e}")))
}

/// A buffer that refuses to grow past [`MAX_OUTPUT`].
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(std::io::Error::other(format!("more than {MAX_OUTPUT} bytes of text")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! One pass over texts: what every method needs to know of every neuron, whatever the length of the texts.

use candle_core::DType;

use super::key_space::Cube;
use crate::hook::reduce::{Moments, Observation, Reducer, ReducerSpec};
use crate::hook::{Output, Pass, Record, Registry};
use crate::models::execute::observe;
use crate::models::{Decoder, Input, Side, Tokens};
use crate::{Error, Result};

/// Most values of `hook_post` of one forward pass, over all layers: 128 MiB.
const VALUES: usize = 32 << 20;

/// Most tokens of a forward pass.
const TOKENS: usize = 2048;

/// A text that statistics are taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its token ids.
    pub ids: Vec<u32>,
    /// How many of them are the query: the key of its last token is the query's key.
    pub query: usize,
}

/// Which keys a cube is fitted around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// That of the last token of every query.
    #[default]
    Last,
    /// That of every token.
    All,
}

/// What is known of every neuron from some texts. Two of them merge into that of all their texts.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// Moments of `mlp.hook_pre`, by layer.
    pre: Vec<Reducer>,
    /// Moments of `mlp.hook_post`, by layer.
    post: Vec<Reducer>,
    /// Moments of `hook_resid_pre`, by layer.
    stream: Vec<Reducer>,
    /// Moments of `hook_resid_pre` at the last token of every query, by layer.
    stream_last: Vec<Reducer>,
    /// Sum of |k| of every neuron, `[layers][d_mlp]`.
    magnitude: Vec<Vec<f64>>,
    /// Moments of `mlp.hook_post` at the last token of every query, by layer.
    post_last: Vec<Reducer>,
    /// Tokens counted: special ones are not.
    pub tokens: u64,
    /// Texts read.
    pub texts: u64,
}

impl Statistics {
    /// Reads the texts. BOS, EOS and other `special` tokens count in nothing but as the last token of a query.
    ///
    /// # Errors
    /// No text with a token, a query that is empty or longer than its text.
    pub fn of(net: &Decoder, texts: &[Text], special: &[u32]) -> Result<Self> {
        let facts = net.facts();
        let layers = facts.layers.len();
        check(texts, special)?;
        let many = |width: usize| (0..layers).map(|_| ReducerSpec::Moments {}.build(width)).collect::<Result<_>>();
        let mut all = Self {
            pre: many(facts.d_mlp)?,
            post: many(facts.d_mlp)?,
            stream: many(facts.d_model)?,
            stream_last: many(facts.d_model)?,
            magnitude: vec![vec![0.0; facts.d_mlp]; layers],
            post_last: many(facts.d_mlp)?,
            tokens: 0,
            texts: 0,
        };
        let cells = (VALUES / (layers * facts.d_mlp).max(1)).clamp(1, TOKENS);
        let mut rest = texts;
        while !rest.is_empty() {
            let mut longest = 0;
            let fits = |(i, text): &(usize, &Text)| {
                longest = longest.max(text.ids.len());
                (i + 1) * longest <= cells
            };
            let rows = rest.iter().enumerate().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(rows);
            all.read(net, batch, special)?;
            rest = after;
        }
        Ok(all)
    }

    /// One forward pass. Rows are filled up on the right: a column is a position.
    fn read(&mut self, net: &Decoder, texts: &[Text], special: &[u32]) -> Result<()> {
        let rows: Vec<Vec<u32>> = texts.iter().map(|t| t.ids.clone()).collect();
        let mut tokens = Tokens::from_rows(&rows, Side::Right, 0)?;
        tokens.prompt = texts.iter().map(|t| t.query as u32).collect();
        tokens.documents = (self.texts..self.texts + texts.len() as u64).collect();
        tokens.special = special.to_vec();
        let pos = tokens.pos;
        let counted: Vec<bool> =
            tokens.ids.iter().zip(&tokens.real).map(|(id, real)| *real && !special.contains(id)).collect();
        let moments = |site: &str| -> Result<Record> { Ok(Record::reduced(site.parse()?, ReducerSpec::Moments {})) };
        let records = vec![
            moments("blocks.*.mlp.hook_pre")?,
            moments("blocks.*.mlp.hook_post")?,
            Record::whole("blocks.*.mlp.hook_post".parse()?),
            moments("blocks.*.hook_resid_pre")?,
            // The last token of the query.
            Record::whole("blocks.*.hook_resid_pre@-1".parse()?),
        ];
        let pass = Pass { records, output: Output::Unread, ..Pass::default() };
        let records = observe(net, &Input::Tokens(tokens), &pass, &Registry::elementary())?.records;
        for layer in 0..self.pre.len() {
            let site = |name: &str| format!("blocks.{layer}.{name}");
            let seen = |name: &str| -> Result<Reducer> { Ok(records.reducer(&site(name), "moments")?.clone()) };
            self.pre[layer].merge(seen("mlp.hook_pre")?)?;
            self.post[layer].merge(seen("mlp.hook_post")?)?;
            self.stream[layer].merge(seen("hook_resid_pre")?)?;
            let last = records.get(&site("hook_resid_pre"))?.flatten_all()?.to_vec1::<f32>()?; // [texts, d_model]
            see_rows(&mut self.stream_last[layer], &last, texts.len())?;
            let post = records.get(&site("mlp.hook_post"))?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let width = self.magnitude[layer].len();
            for (key, _) in post.chunks(width).zip(&counted).filter(|(_, counts)| **counts) {
                self.magnitude[layer].iter_mut().zip(key).for_each(|(sum, x)| *sum += f64::from(x.abs()));
            }
            let key = |(row, text): (usize, &Text)| &post[(row * pos + text.query - 1) * width..][..width];
            let keys: Vec<f32> = texts.iter().enumerate().flat_map(key).copied().collect();
            see_rows(&mut self.post_last[layer], &keys, texts.len())?;
        }
        self.tokens += counted.iter().filter(|c| **c).count() as u64;
        self.texts += texts.len() as u64;
        Ok(())
    }

    /// Takes in the statistics of further texts.
    ///
    /// # Errors
    /// Statistics of another network.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.size() != other.size() {
            return Err(Error::invalid("statistics of different networks do not merge", "take them of one network"));
        }
        let pairs = [
            (&mut self.pre, &other.pre),
            (&mut self.post, &other.post),
            (&mut self.post_last, &other.post_last),
            (&mut self.stream, &other.stream),
            (&mut self.stream_last, &other.stream_last),
        ];
        for (into, from) in pairs {
            into.iter_mut().zip(from).try_for_each(|(a, b)| a.merge(b.clone()))?;
        }
        for (into, from) in self.magnitude.iter_mut().zip(&other.magnitude) {
            into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
        self.tokens += other.tokens;
        self.texts += other.texts;
        Ok(())
    }

    /// Layers and neurons per layer.
    pub fn size(&self) -> (usize, usize) {
        (self.magnitude.len(), self.magnitude.first().map_or(0, Vec::len))
    }

    /// Mean and population standard deviation of a neuron's `hook_pre`.
    ///
    /// # Errors
    /// No finite value.
    pub fn pre(&self, layer: usize, neuron: usize) -> Result<(f64, f64)> {
        let unit = moments(&self.pre[layer])?.unit(neuron).ok_or_else(|| not_finite("mlp.hook_pre"))?;
        Ok((unit.mean, unit.std))
    }

    /// Mean of a neuron's `hook_post`.
    ///
    /// # Errors
    /// No finite value.
    pub fn post(&self, layer: usize, neuron: usize) -> Result<f64> {
        moments(&self.post[layer])?.unit(neuron).map(|u| u.mean).ok_or_else(|| not_finite("mlp.hook_post"))
    }

    /// Mean of |k| of a neuron.
    pub fn magnitude(&self, layer: usize, neuron: usize) -> f64 {
        self.magnitude[layer][neuron] / self.tokens.max(1) as f64
    }

    /// Mean of the stream before a layer, over all tokens or over the last ones of the queries.
    ///
    /// # Errors
    /// A coordinate without a finite value.
    pub fn stream(&self, layer: usize, keys: Keys) -> Result<Vec<f64>> {
        let reducer = match keys {
            Keys::All => &self.stream[layer],
            Keys::Last => &self.stream_last[layer],
        };
        let means = moments(reducer)?.means();
        match means.iter().all(|x| x.is_finite()) {
            true => Ok(means),
            false => Err(not_finite("hook_resid_pre")),
        }
    }

    /// The smallest cube around the keys of these texts in a layer.
    ///
    /// # Errors
    /// A layer that the network lacks; as [`Cube::fit`].
    pub fn cube(&self, layer: usize, keys: Keys) -> Result<Cube> {
        let by_layer = match keys {
            Keys::All => &self.post,
            Keys::Last => &self.post_last,
        };
        let reducer = by_layer.get(layer).ok_or_else(|| {
            Error::invalid(
                format!("there is no layer {layer} in a network of {}", by_layer.len()),
                format!("name a layer from 0 to {}", by_layer.len().saturating_sub(1)),
            )
        })?;
        Cube::fit(moments(reducer)?, self.size().1)
    }
}

fn check(texts: &[Text], special: &[u32]) -> Result<()> {
    if let Some(at) = texts.iter().position(|t| t.query == 0 || t.query > t.ids.len()) {
        return Err(Error::invalid(
            format!(
                "text {at} (counted from 0) has {} tokens, {} of them its query",
                texts[at].ids.len(),
                texts[at].query
            ),
            "a query has at least one token, at most those of its text",
        ));
    }
    if texts.iter().all(|t| t.ids.iter().all(|id| special.contains(id))) {
        return Err(Error::invalid("the texts hold no token that counts", "give at least one text that is not empty"));
    }
    Ok(())
}

/// One vector per row into a reducer.
fn see_rows(reducer: &mut Reducer, values: &[f32], rows: usize) -> Result<()> {
    reducer.observe(&Observation {
        values,
        rows,
        pos: 1,
        width: reducer.width(),
        keep: &vec![true; rows],
        tokens: &vec![0; rows],
        documents: &(0..rows as u64).collect::<Vec<_>>(),
        positions: &vec![0; rows],
    })
}

fn moments(reducer: &Reducer) -> Result<&Moments> {
    match reducer {
        Reducer::Moments(moments) => Ok(moments),
        _ => Err(Error::invalid("a reducer of another kind than asked for", "report this as a defect")),
    }
}

fn not_finite(site: &str) -> Error {
    Error::invalid(format!("`{site}` has no finite values on these texts"), "run `doctor` on the model")
}

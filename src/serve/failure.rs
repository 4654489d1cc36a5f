//! What a request gets that cannot be answered.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub message: String,
}

/// The body of a failure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// What is wrong and what to do.
    pub error: String,
}

/// What handlers give.
pub type Reply<T> = Result<T, Failure>;

impl Failure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// There is nothing of this name.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The request does not parse.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::UnknownSite { .. } => StatusCode::NOT_FOUND,
            Error::Syntax { .. } => StatusCode::BAD_REQUEST,
            Error::Stopped(_) => StatusCode::CONFLICT,
            Error::Invalid { .. } | Error::File { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Io { .. } | Error::Tensor(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(Told { error: self.message })).into_response()
    }
}

//! openraft's client side over the [`Exchange`]: one client per peer and use.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use env::{Disk, Purpose};
use futures::Stream;
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{SnapshotOf, VoteOf};

use super::exchange::Exchange;
use super::frame::{Answer, Request};
use super::machine::SnapshotFile;
use super::parcel;
use super::pipeline::Pipeline;
use super::types::{Place, TypeConfig};

/// Makes clients.
pub(super) struct Network {
    pub(super) exchange: Arc<Exchange>,
    pub(super) disk: Arc<dyn Disk>,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// A client of one peer.
pub(super) struct Client {
    exchange: Arc<Exchange>,
    disk: Arc<dyn Disk>,
    to: u64,
    patience: Duration,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, to: u64, _: &Place) -> Client {
        Client { exchange: self.exchange.clone(), disk: self.disk.clone(), to, patience: self.patience }
    }
}

impl Client {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        Unreachable::from_string(format_args!("node {} gives no answer", self.to))
    }

    async fn ask(&self, request: Request, within: Duration) -> Result<Answer, Unreachable<TypeConfig>> {
        let answer = self.exchange.open(self.to).once(Purpose::Raft, request);
        let answer = TypeConfig::timeout(within, answer).await;
        answer.ok().flatten().ok_or_else(|| self.unreachable())
    }

    async fn ask_vote(
        &self,
        request: Request,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(request, option.hard_ttl()).await? {
            Answer::Voted(response) => Ok(response),
            _ => Err(self.unreachable().into()),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(Request::Append(request), option.hard_ttl()).await? {
            Answer::Appended(response) => Ok(response),
            _ => Err(self.unreachable().into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let pipeline = Pipeline::new(self.exchange.open(self.to), input, self.to, self.patience);
        let pipeline: BoxStream<'s, _> = Box::pin(pipeline);
        Box::pin(std::future::ready(Ok(pipeline)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(Request::Vote(request), option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(Request::PreVote(request), option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            response = parcel::send(&self.exchange, &*self.disk, self.to, vote, snapshot) => {
                response.ok_or_else(|| self.unreachable().into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.ask(Request::Transfer(request), option.hard_ttl()).await? {
            Answer::Transferred(response) => Ok(response),
            _ => Err(self.unreachable().into()),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(self.patience / 10)))
    }
}

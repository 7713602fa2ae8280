// Package server runs many pipelines in one process: the daemon behind `sluice serve`, its HTTP API and the
// client for it. It knows states, restarts and requests; what a pipeline is made of, a Launcher knows.
//
// # States
//
//	starting    the log is read, the state rebuilt, the last batch settled
//	running     batches are committed
//	restarting  it failed in a way that may pass (database down, source away); the next attempt is at retry_at
//	stopping    the batch at hand is being finished
//	stopped     by request; resume goes on where it stopped
//	finished    the bounded input is at its end
//	failed      trying again would not help; the error says what would
//	replacing   the old version is stopped, and a new one takes its place
//	standby     another daemon runs it, and this one takes over when that one is gone
//	dropping    its rows, tables and log are being removed
//
// One pipeline's failure is its own: the others go on. Every pipeline survives the daemon. Its directory,
// STATE_DIR/pipelines/NAME, holds pipeline.sql and pipeline.json with the state it should be in, and the next
// daemon resumes what should run. A failed pipeline should run too: a new daemon tries it once more.
//
// # API
//
// HTTP and JSON, on a Unix socket that only its owner can open, and on 127.0.0.1 for those who send the token
// from STATE_DIR/token. docs/api.md describes every request.
//
//	POST   /v1/pipelines              check a pipeline and start it
//	GET    /v1/pipelines              list them
//	GET    /v1/pipelines/NAME         one, in detail
//	GET    /v1/pipelines/NAME/sql     its file
//	PUT    /v1/pipelines/NAME         put a new version in its place
//	DELETE /v1/pipelines/NAME/replacement  give the new version up
//	POST   /v1/pipelines/NAME/stop    finish the batch and stop
//	POST   /v1/pipelines/NAME/resume  go on
//	DELETE /v1/pipelines/NAME         remove it with all that it made
//	POST   /v1/ingest/NAME/SOURCE     rows for a source (package sources/http)
//	GET    /v1/version                what runs here
//	GET    /healthz                   200 while the daemon takes requests
package server

package server

import (
	"time"

	"github.com/sluice-sql/sluice/microbatch"
)

// State is where a pipeline is in its life; the package comment describes each.
type State string

const (
	Starting   State = "starting"
	Running    State = "running"
	Restarting State = "restarting"
	Stopping   State = "stopping"
	Stopped    State = "stopped"
	Finished   State = "finished"
	Failed     State = "failed"
	Dropping   State = "dropping"
	// Replacing: the version before is stopped, and a new one takes its place.
	Replacing State = "replacing"
	// Standby: another daemon runs it, and this one takes over when that one is gone.
	Standby State = "standby"
)

// Settled says that nothing more happens until somebody asks for it.
func (s State) Settled() bool { return s == Stopped || s == Finished || s == Failed }

// Status is a pipeline as the API shows it.
type Status struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Desired is the state that the daemon works towards, across its own restarts.
	Desired     Desired   `json:"desired"`
	File        string    `json:"file"`
	Dir         string    `json:"dir"`
	Options     Options   `json:"options,omitzero"`
	SubmittedAt time.Time `json:"submitted_at"`
	// StateSince is when State was entered, as far as this daemon knows.
	StateSince time.Time `json:"state_since"`
	// Progress is of the current run, or of the last; absent before the first.
	Progress *microbatch.Progress `json:"progress,omitempty"`
	// Owner is who runs a pipeline in standby: host, process and a random part.
	Owner string `json:"owner,omitempty"`
	// Replacement is a new version on its way, or what became of the last one since the daemon began.
	Replacement *Replacement `json:"replacement,omitempty"`
	// Restarts counts the starts after a failure since the daemon began or the user resumed.
	Restarts int `json:"restarts"`
	// RetryAt is when a restarting pipeline is started again.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Problem is the last failure, kept until a batch is committed again.
	Problem *Error `json:"problem,omitempty"`
	Description
}

// Version is what GET /v1/version answers.
type Version struct {
	Version string `json:"version"`
	// API counts incompatible changes of the API; it is the number in the paths.
	API int `json:"api"`
	PID int `json:"pid"`
	// StateDir is the daemon's, Listen its TCP address, empty without one.
	StateDir  string    `json:"state_dir"`
	Listen    string    `json:"listen,omitempty"`
	StartedAt time.Time `json:"started_at"`
}

const apiVersion = 1

// StopRequest is the body of POST …/stop; it may be empty.
type StopRequest struct {
	// Abort gives the batch at hand up instead of finishing it. It is run again after a resume.
	Abort bool `json:"abort,omitempty"`
}

// Dropped is what DELETE answers.
type Dropped struct {
	Name   string   `json:"name"`
	Tables []string `json:"tables"`
}

type list struct {
	Pipelines []Status `json:"pipelines"`
}

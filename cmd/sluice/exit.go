package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

// ExitCode is what the process ends with; `sluice help exit-codes` lists them.
type ExitCode int

const (
	ExitOK          ExitCode = 0
	ExitFailed      ExitCode = 1
	ExitUsage       ExitCode = 2
	ExitRejected    ExitCode = 3
	ExitCorrupt     ExitCode = 4
	ExitFenced      ExitCode = 5
	ExitInterrupted ExitCode = 130
)

// exitCodes explains them, for the help topic.
var exitCodes = []struct {
	code ExitCode
	doc  string
}{
	{ExitOK, "success"},
	{ExitFailed, "something failed; the message says what, and what to do next"},
	{ExitUsage, "the command line is wrong"},
	{ExitRejected, "the SQL file is wrong: an unknown option, column, type or function, or a syntax error"},
	{ExitCorrupt, "a log of the pipeline is damaged; nothing was changed"},
	{ExitFenced, "a newer engine has taken the pipeline over; nothing of this one's last batch was committed"},
	{ExitInterrupted, "a signal ended the command; a running pipeline can be resumed"},
}

// errInterrupted says that a signal, and nothing else, ended the command.
var errInterrupted = errors.New("interrupted")

// errReported fails a command whose report has said everything.
var errReported = errors.New("failed, as reported")

// usageError is a mistake on the command line.
type usageError struct {
	command string // path of the command whose help would have told
	err     error
}

func (e *usageError) Error() string {
	if e.command == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%v\nhint: see `%s --help`", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

func usagef(command, format string, args ...any) error {
	return &usageError{command, fmt.Errorf(format, args...)}
}

// exitCode classifies an error.
func exitCode(err error) ExitCode {
	var usage *usageError
	var rejected *ddl.Error
	var many ddl.Errors
	var corrupt *checkpointlog.CorruptError
	var ingest *ingestlog.CorruptError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &rejected), errors.As(err, &many):
		return ExitRejected
	case errors.As(err, &corrupt), errors.As(err, &ingest):
		return ExitCorrupt
	case errors.Is(err, microbatch.ErrFenced):
		return ExitFenced
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitFailed
}

package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// Code names a kind of error for programs. The set only grows.
type Code string

const (
	CodeBadRequest   Code = "bad_request"
	CodeSQL          Code = "sql_rejected"
	CodeUnauthorized Code = "unauthorized"
	CodeForbidden    Code = "forbidden"
	CodeNotFound     Code = "not_found"
	CodeExists       Code = "already_exists"
	CodeState        Code = "wrong_state"
	CodeTimeout      Code = "timeout"
	CodeShutdown     Code = "shutting_down"
	CodeTooMany      Code = "too_many_pipelines"
	CodeFenced       Code = "fenced"
	CodeCorrupt      Code = "log_corrupt"
	CodeRefused      Code = "refused"
	CodeRangeChanged Code = "source_range_changed"
	CodePanicked     Code = "engine_defect"
	// CodeFailed is any other failure of a pipeline, CodeInternal one of the daemon.
	CodeFailed   Code = "failed"
	CodeInternal Code = "internal"
)

// codes lists them all, with what each means.
var codes = []struct {
	code Code
	doc  string
}{
	{CodeBadRequest, "the request is not what docs/api.md shows"},
	{CodeSQL, "the pipeline file is wrong; sql has the positions"},
	{CodeUnauthorized, "TCP: the token is missing or wrong"},
	{CodeForbidden, "TCP: the request comes from a web page or is for another host"},
	{CodeNotFound, "there is no such pipeline, or no such request"},
	{CodeExists, "a pipeline has that name, letter case aside"},
	{CodeState, "the pipeline's state does not allow it now"},
	{CodeTimeout, "it took too long; the hint says what may still happen"},
	{CodeShutdown, "the daemon is ending"},
	{CodeTooMany, "the daemon has as many pipelines as it takes"},
	{CodeFenced, "a newer engine has taken the pipeline over"},
	{CodeCorrupt, "the checkpoint log is damaged"},
	{CodeRefused, "log and database do not belong together"},
	{CodeRangeChanged, "a source no longer holds what was read from it"},
	{CodePanicked, "the engine met a state that should be impossible"},
	{CodeFailed, "any other failure of a pipeline"},
	{CodeInternal, "any other failure of the daemon"},
}

// Error is how the API reports a failure, both of a request and of a pipeline.
type Error struct {
	Message string `json:"error"`
	Detail  string `json:"detail,omitempty"`
	Hint    string `json:"hint,omitempty"`
	Code    Code   `json:"code"`
	// At is when a pipeline failed; absent for requests.
	At time.Time `json:"at,omitzero"`
	// SQL are the mistakes in the submitted file; Message then holds them all as they are printed.
	SQL []SQLError `json:"sql,omitempty"`
}

// SQLError is one mistake in a pipeline file. Line and column count from 1; the caret's numbers are display
// columns in SourceLine.
type SQLError struct {
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	Message    string `json:"message"`
	Detail     string `json:"detail,omitempty"`
	Hint       string `json:"hint,omitempty"`
	SourceLine string `json:"source_line"`
	CaretStart int    `json:"caret_start"`
	CaretWidth int    `json:"caret_width"`
}

// Error prints the message with its detail and hint on lines of their own.
func (e *Error) Error() string {
	s := e.Message
	if e.Detail != "" {
		s += "\nDetail: " + e.Detail
	}
	if e.Hint != "" {
		s += "\nHint: " + e.Hint
	}
	return s
}

// Unwrap gives a client the error that the daemon met, so that both sides of the socket end alike: with the
// same message and the same exit code.
func (e *Error) Unwrap() error {
	switch e.Code {
	case CodeSQL:
		var errs ddl.Errors
		for _, s := range e.SQL {
			errs = append(errs, &ddl.Error{File: s.File, Line: s.Line, Column: s.Column, Message: s.Message, Detail: s.Detail, Hint: s.Hint,
				SourceLine: s.SourceLine, CaretStart: s.CaretStart, CaretWidth: s.CaretWidth})
		}
		return errs
	case CodeFenced:
		return microbatch.ErrFenced
	case CodeRangeChanged:
		return microbatch.ErrRangeChanged
	case CodeCorrupt:
		return &checkpointlog.CorruptError{Path: "", Offset: -1, Reason: e.Message, Hint: e.Hint}
	case CodeRefused:
		return &microbatch.RefusedError{Detail: e.Message, Hint: e.Hint}
	}
	return nil
}

func newError(code Code, hint, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// describe turns any error into one for the API.
func describe(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if sql := sqlErrors(err); sql != nil {
		return &Error{Code: CodeSQL, Message: sql.Error(), SQL: positions(sql)}
	}
	out := split(err.Error())
	out.Code = codeOf(err)
	return out
}

func codeOf(err error) Code {
	var refused *microbatch.RefusedError
	var corrupt *checkpointlog.CorruptError
	switch {
	case errors.Is(err, microbatch.ErrFenced):
		return CodeFenced
	case errors.Is(err, microbatch.ErrRangeChanged):
		return CodeRangeChanged
	case errors.As(err, &refused):
		return CodeRefused
	case errors.As(err, &corrupt):
		return CodeCorrupt
	case errors.Is(err, errPanicked):
		return CodePanicked
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	}
	return CodeFailed
}

func sqlErrors(err error) ddl.Errors {
	var many ddl.Errors
	var one *ddl.Error
	switch {
	case errors.As(err, &many):
		return many
	case errors.As(err, &one):
		return ddl.Errors{one}
	}
	return nil
}

func positions(errs ddl.Errors) []SQLError {
	var out []SQLError
	for _, e := range errs {
		out = append(out, SQLError{File: e.File, Line: e.Line, Column: e.Column, Message: e.Message, Detail: e.Detail, Hint: e.Hint,
			SourceLine: e.SourceLine, CaretStart: e.CaretStart, CaretWidth: e.CaretWidth})
	}
	return out
}

// split takes a message in house style apart: the error, then lines that begin with Detail: and Hint:.
func split(text string) *Error {
	e := &Error{}
	into := &e.Message
	for line := range strings.SplitSeq(text, "\n") {
		label, rest, _ := strings.Cut(line, ":")
		switch rest = strings.TrimPrefix(rest, " "); {
		case strings.EqualFold(label, "detail") && e.Detail == "":
			into, line = &e.Detail, rest
		case strings.EqualFold(label, "hint") && e.Hint == "":
			into, line = &e.Hint, rest
		}
		if *into != "" {
			*into += "\n"
		}
		*into += line
	}
	return e
}

// httpStatus is the response's status for a code.
func httpStatus(c Code) int {
	switch c {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeUnauthorized:
		return http.StatusUnauthorized
	case CodeForbidden:
		return http.StatusForbidden
	case CodeNotFound:
		return http.StatusNotFound
	case CodeExists, CodeState:
		return http.StatusConflict
	case CodeTimeout:
		return http.StatusGatewayTimeout
	case CodeShutdown:
		return http.StatusServiceUnavailable
	case CodeTooMany:
		return http.StatusTooManyRequests
	case CodeInternal, CodePanicked:
		return http.StatusInternalServerError
	}
	// The request was understood, but the pipeline cannot be run (or dropped) as things are.
	return http.StatusUnprocessableEntity
}

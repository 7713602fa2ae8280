package main

import (
	"errors"

	"github.com/sluice-sql/sluice/microbatch"
)

func newStdout(p place) (microbatch.Sink, error) {
	return nil, errors.New("standard output is not a sink yet\nHint: leave the format out and use connector = 'postgres'")
}

// Package faulttest breaks the sluice binary on purpose, against a real Postgres, and checks after every
// fault that the one guarantee holds: no row lost, none counted twice, all views at the same prefix.
//
// It has tests only. They build cmd/sluice once a run and drive it as a user does, by its command line;
// nothing of the engine is linked into them. The faults:
//
//	crash_test.go     every registered failpoint × exit and error × hit 1, 2 and 7, on the way and in recovery
//	postgres_test.go  the server down, killed in the middle of batches, connections cut round COMMIT, fencing
//	log_test.go       torn tails, flipped bits, a full disk, lost state directories, restored databases
//	input_test.go     malformed rows, extra and missing columns, files that change under the reader
//	soak_test.go      SIGKILL at random instants
//
// SLUICE_SOAK=10m makes the soak test go on for that long; -short leaves out most of the crash matrix.
package faulttest

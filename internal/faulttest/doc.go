// Package faulttest breaks the sluice binary on purpose, against a real Postgres, and checks after every
// fault that the one guarantee holds: no row lost, none counted twice, all views at the same prefix.
//
// It has tests only. They build cmd/sluice once a run and drive it as a user does, by its command line;
// nothing of the engine is linked into them. The faults:
//
//	matrix_test.go    how failpoints × exit and error × hits are tried: in chains, and one by one in soaks
//	crash_test.go     every registered failpoint, on the way and in recovery; the matrices of sources and sinks are
//	                  in kafkasource_test.go, kafkasink_test.go, capture_test.go, posted_test.go and lookup_test.go
//	postgres_test.go  the server down, killed in the middle of batches, connections cut round COMMIT, fencing
//	log_test.go       torn tails, flipped bits, a full disk, lost state directories, restored databases
//	input_test.go     malformed rows, extra and missing columns, files that change under the reader
//	soak_test.go      SIGKILL at random instants
//
// SLUICE_SOAK=10m makes the soak test go on for that long, and has the matrices whole; -short leaves out more.
package faulttest

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// processorTime is what a process has taken of the processors so far, with all that it started: what Linux says in
// /proc. It is 0 on other systems.
func processorTime(pid int) time.Duration {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		panic(err) // the pattern is malformed
	}
	own, children := map[int]int64{}, map[int][]int{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended this instant
		}
		p, parent, ticks, ok := parseStat(text)
		if ok {
			own[p] = ticks
			children[parent] = append(children[parent], p)
		}
	}
	var sum func(pid int) int64
	sum = func(pid int) int64 {
		ticks := own[pid]
		for _, c := range children[pid] {
			ticks += sum(c)
		}
		return ticks
	}
	const ticksASecond = 100 // USER_HZ, the same on all of Linux's architectures that Go knows
	return time.Duration(sum(pid)) * (time.Second / ticksASecond)
}

// parseStat reads a stat file of proc(5): the process, its parent, and the ticks that it and those of its children took
// that have ended and were waited for.
func parseStat(text []byte) (pid, parent int, ticks int64, ok bool) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')') // round a name that may have both in it
	if open < 0 || end < open {
		return 0, 0, 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:open])))
	rest := strings.Fields(string(text[end+1:])) // from the third field on
	if err != nil || len(rest) < 15 {
		return 0, 0, 0, false
	}
	if parent, err = strconv.Atoi(rest[1]); err != nil {
		return 0, 0, 0, false
	}
	for _, field := range rest[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, 0, false
		}
		ticks += n
	}
	return pid, parent, ticks, true
}

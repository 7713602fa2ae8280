package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
)

// release is set by the linker: -ldflags "-X main.release=v1.2.3".
var release = ""

// version is the release, or what the Go toolchain knows of the build.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

type versionReport struct {
	Sluice    string `json:"sluice"`
	DuckDB    string `json:"duckdb"`
	Go        string `json:"go"`
	LogFormat int    `json:"log_format"`
	Platform  string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of sluice, DuckDB, Go and the log format",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r := versionReport{version(), duck.Version(), runtime.Version(), checkpointlog.FormatVersion, runtime.GOOS + "/" + runtime.GOARCH}
			if asJSON {
				return a.writeJSON(r)
			}
			_, err := fmt.Fprintf(a.streams.Out, "sluice %s\nDuckDB %s\n%s %s\ncheckpoint log format %d\n", r.Sluice, r.DuckDB, r.Go, r.Platform, r.LogFormat)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// writeJSON prints a document to standard output.
func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.streams.Out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

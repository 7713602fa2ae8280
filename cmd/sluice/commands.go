package main

import "github.com/spf13/cobra"

// commands lists them in the order of --help.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.runCommand(),
		a.queryCommand(),
		a.checkCommand(),
		a.explainCommand(),
		a.diffCommand(),
		a.logCommand(),
		a.replayCommand(),
		a.verifyCommand(),
		a.drillCommand(),
		a.psqlCommand(),
		a.savepointCommand(),
		a.serveCommand(),
		a.submitCommand(),
		a.lsCommand(),
		a.statusCommand(),
		a.stopCommand(),
		a.resumeCommand(),
		a.dropCommand(),
		a.versionCommand(),
		exitCodesTopic(),
		environmentTopic(),
		a.debugCommand(),
	}
}

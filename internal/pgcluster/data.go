package pgcluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// settings are written into postgresql.conf at initdb; the user may change them there.
// Why logical: its tables can then be captured, by connector = 'postgres_cdc', without a restart.
// Why the large max_wal_size: an upsert-heavy load is bound by full-page images after each checkpoint.
const settings = `
# Written by sluice when it made this cluster. Change it as you like.
fsync = on
synchronous_commit = on
shared_buffers = 256MB
maintenance_work_mem = 128MB
work_mem = 32MB
max_wal_size = 4GB
min_wal_size = 256MB
checkpoint_timeout = 15min
wal_compression = %s
wal_buffers = 16MB
max_connections = 100
wal_level = logical
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_checkpoints = off
`

// initdb makes the cluster beside its final place and renames it there, so that a killed initdb leaves
// nothing that looks like a cluster. The leftovers of such a crash are removed first.
func (c *Cluster) initdb(ctx context.Context, o Options) error {
	tmp := c.data + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("clear an unfinished cluster: %w", err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("create a cluster: %w", err)
	}
	if err := c.owner.chown(tmp); err != nil {
		return fmt.Errorf("create a cluster: %w", err)
	}
	// The C locale compares text by bytes: fastest for sorting keys, and the same on every machine.
	args := append([]string{"-D", tmp, "-U", superuser, "-E", "UTF8", "--locale=C",
		"--auth-local=trust", "--auth-host=reject", "--data-checksums"}, o.InitArgs...)
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "initdb"), args...)
	cmd.Dir, cmd.Env = "/", serverEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.owner.credential()}
	// Why: initdb goes on when we are killed, and would write into what the next Start removes and makes
	// anew. It inherits the start lock, which is free again only when both are gone.
	cmd.ExtraFiles = []*os.File{c.locks.start}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\nDetail: %s", err, bytes.TrimSpace(out))
	}
	conf, err := os.OpenFile(filepath.Join(tmp, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	_, werr := fmt.Fprintf(conf, settings, c.walCompression())
	if err := errors.Join(werr, conf.Sync(), conf.Close()); err != nil {
		return fmt.Errorf("configure the cluster: %w", err)
	}
	// An empty directory may stand there (see place); anything else makes Remove fail, which is right.
	if err := os.Remove(c.data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("create a cluster: %w\nHint: %s is in the way and is no cluster", err, c.data)
	}
	if err := os.Rename(tmp, c.data); err != nil {
		return fmt.Errorf("create a cluster: %w", err)
	}
	return nil
}

// walCompression is lz4 where the server was built with it, and off otherwise: the built-in method made
// the first 100,000-row upsert after a checkpoint take 5 s in place of 0.4 s.
func (c *Cluster) walCompression() string {
	out, err := exec.Command(filepath.Join(c.bin, "pg_config"), "--version", "--configure").Output()
	if err != nil {
		return "off" // pg_config is a development tool and may be missing
	}
	var major int
	if _, err := fmt.Sscanf(string(out), "PostgreSQL %d", &major); err != nil || major < 15 || !bytes.Contains(out, []byte("--with-lz4")) {
		return "off"
	}
	return "lz4"
}

// checkVersion refuses a cluster that another major version made.
func (c *Cluster) checkVersion() error {
	have, err := os.ReadFile(filepath.Join(c.data, "PG_VERSION"))
	if err != nil {
		return fmt.Errorf("read the cluster's version: %w", err)
	}
	out, err := exec.Command(filepath.Join(c.bin, "postgres"), "--version").Output()
	if err != nil {
		return fmt.Errorf("ask postgres for its version: %w", err)
	}
	made := strings.TrimSpace(string(have))
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian …)
	if len(fields) < 3 || fields[2] == made || strings.HasPrefix(fields[2], made+".") {
		return nil
	}
	return fmt.Errorf("the cluster in %s was made by PostgreSQL %s, and %s is version %s\n"+
		"Hint: put the bin directory of PostgreSQL %s first in PATH, or upgrade the cluster with pg_upgrade", c.data, made, c.bin, fields[2], made)
}

// maxSocketPath is the most bytes of a Unix socket's path (sun_path of Linux less the final NUL; macOS has 103).
const maxSocketPath = 103

// socketDir returns where the socket goes: the data directory, or a private directory under the
// system's temporary one when the path would be too long for a socket.
func socketDir(data string, o *owner) (string, error) {
	if len(data)+len("/.s.PGSQL."+port) <= maxSocketPath {
		return data, nil
	}
	sum := sha256.Sum256([]byte(data))
	dir := filepath.Join(os.TempDir(), "sluice-pg-"+hex.EncodeToString(sum[:8]))
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := o.chown(dir); err != nil {
			return "", fmt.Errorf("create the socket directory: %w", err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("create the socket directory: %w", err)
	}
	// Someone else may have made the directory to listen in our place: it must be ours and closed.
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return "", fmt.Errorf("check the socket directory: %w", err)
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR || int(st.Uid) != o.uidOrOurs() || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("socket directory %s belongs to someone else or is open to others\nHint: remove it, or use a shorter --state-dir", dir)
	}
	return dir, nil
}

// running returns the postmaster that postmaster.pid names, if it is alive and serves this data
// directory from this socket. A stale file (the machine or the server was killed) does not count:
// postgres itself replaces it.
func (c *Cluster) running() (pid int, ok bool) {
	b, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	// pid, data directory, start time, port, socket directory, …
	lines := strings.Split(string(b), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid <= 1 || !alive(pid) || len(lines) < 5 {
		return 0, false
	}
	// The pid may have been given to another process since. Only a postmaster has the socket's lock file naming it.
	lock, err := os.ReadFile(filepath.Join(c.socket, ".s.PGSQL."+port+".lock"))
	if err != nil || !bytes.HasPrefix(lock, []byte(strconv.Itoa(pid)+"\n")) || !c.isPostgres(pid) {
		return 0, false
	}
	return pid, true
}

// isPostgres asks the kernel, where it tells, whether the process runs postgres.
func (c *Cluster) isPostgres(pid int) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return errors.Is(err, os.ErrNotExist) && alive(pid) // no /proc here: the lock file must do
	}
	name, _, _ := bytes.Cut(cmdline, []byte{0})
	return filepath.Base(string(name)) == "postgres" || bytes.HasPrefix(name, []byte("postgres"))
}

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func logPath(data string) string { return filepath.Join(data, "server.log") }

const maxServerLogBytes = 16 << 20

// openServerLog opens the server's log for appending, starting over when it has grown large.
func openServerLog(data string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(logPath(data)); err == nil && st.Size() > maxServerLogBytes {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(logPath(data), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	return f, nil
}

func (c *Cluster) logTail() string {
	b, err := os.ReadFile(logPath(c.data))
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-1000):]))
}

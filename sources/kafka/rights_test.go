package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
)

// Which right is missing is told, at the start or when it is taken away while reading; with it, reading goes on where it
// was.
func TestRights(t *testing.T) {
	c := kafkatest.Fake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.SeedTopics(1, "t"), kfake.Superuser("PLAIN", "root", "r"), kfake.User("PLAIN", "u", "p"))
	root := producer(t, c, kgo.SASL(plain.Auth{User: "root", Pass: "r"}.AsMechanism()))
	admin := kadm.NewClient(root)
	acl := func(op kadm.ACLOperation) *kadm.ACLBuilder {
		return kadm.NewACLs().Allow("User:u").AllowHosts().Topics("t").Operations(op).ResourcePatternType(kadm.ACLPatternLiteral)
	}
	allow := func(op kadm.ACLOperation) {
		t.Helper()
		if _, err := admin.CreateACLs(t.Context(), acl(op)); err != nil {
			t.Fatal(err)
		}
	}
	kafkatest.Produce(t, root, event("t", 0, 0), event("t", 0, 1))
	o := options(c, "t")
	o.Client.User, o.Client.Password = "u", "p"
	wantError(t, failure(t, open(t, o), nil), "TOPIC_AUTHORIZATION_FAILED", `Hint: user "u" may not do this with the topic`)
	allow(kadm.OpDescribe)
	wantError(t, failure(t, open(t, o), nil), "read partition 0 of topic t", "TOPIC_AUTHORIZATION_FAILED", `Hint: user "u" may not do this with the topic`)
	allow(kadm.OpRead)
	s := open(t, o)
	_, to := pollAll(t, s, nil, 2)
	grouped := o
	grouped.GroupID = "g"
	wantError(t, failure(t, open(t, grouped), nil), "group_id = 'g'", "GROUP_AUTHORIZATION_FAILED", `Hint: user "u" lacks an ACL`)

	if _, err := admin.DeleteACLs(t.Context(), acl(kadm.OpRead)); err != nil {
		t.Fatal(err)
	}
	kafkatest.Produce(t, root, event("t", 0, 2))
	var last []string
	for {
		r, err := s.Poll(t.Context(), to, microbatch.Limits{})
		if err != nil {
			wantError(t, err, "read partition 0 of topic t", "TOPIC_AUTHORIZATION_FAILED")
			break
		}
		if r.Count > 0 { // it was on its way when the right went
			to, last = r.To, append(last, "")
			kafkatest.Produce(t, root, event("t", 0, 2+len(last)))
		}
	}
	allow(kadm.OpRead)
	if rows, _ := pollAll(t, open(t, o), to, 1); len(rows) != 1 {
		t.Errorf("rows %v after the right came back", rows)
	}
}

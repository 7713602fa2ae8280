package kafka

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/internal/kafkatest"
	"github.com/sluice-sql/sluice/microbatch"
)

// Who lacks a right is told which, before anything is written.
func TestUnauthorized(t *testing.T) {
	allow := func(resource kmsg.ACLResourceType, ops ...kmsg.ACLOperation) (out []kfake.ACL) {
		for _, op := range ops {
			out = append(out, kfake.ACL{Resource: resource, Name: "*", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return out
	}
	topics := allow(kmsg.ACLResourceTypeTopic, kmsg.ACLOperationDescribe, kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate)
	ids := allow(kmsg.ACLResourceTypeTransactionalId, kmsg.ACLOperationDescribe, kmsg.ACLOperationWrite)
	for name, tt := range map[string]struct {
		acls []kfake.ACL
		want string
	}{
		"nothing":            {nil, "lacks an ACL|may not do this"},
		"no transactions":    {topics, "lacks an ACL"},
		"read only":          {append(allow(kmsg.ACLResourceTypeTopic, kmsg.ACLOperationDescribe, kmsg.ACLOperationRead), ids...), "may not do this"},
		"all but the config": {append(topics, ids...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Fake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.User("PLAIN", "u", "p", tt.acls...))
			o := options(t, c, Layout{})
			o.Layout.Topic, o.LedgerTopic, o.DeadLetterTopic = "t", "l", "d"
			o.Client = kafkaclient.Options{Brokers: c.Addrs, User: "u", Password: "p"}
			_, err := newSink(t, o).Open(t.Context(), "p", []microbatch.Target{{Output: appended}})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !slices.ContainsFunc(strings.Split(tt.want, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) {
				t.Errorf("%v\nwant %s", err, tt.want)
			}
		})
	}
}

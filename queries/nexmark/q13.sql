-- Nexmark 13, bounded side input: every bid with a value from a small table in a file.
-- Class: incremental.
-- Differs: the file has 100 keys, not 10,000, hence % 100; and the table is read whole before the first bid and
-- never changes, so that the join has one answer, instead of what the file held at a bid's processing time.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000);

CREATE TABLE side_input (key BIGINT, value VARCHAR) WITH (connector = 'file', path = '../../testdata/nexmark_side_input.csv');

CREATE MATERIALIZED VIEW q13 AS
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM bid b JOIN side_input s ON b.auction % 100 = s.key;

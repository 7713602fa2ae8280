-- Nexmark 5, hot items: which auctions had the most bids in the last ten seconds, every two seconds?
-- Class: incremental.
-- Differs: the counts are written once, in a WITH, and the window's start is in the result, so that a row says
-- what it is about; windows are shown as they fill, where the reference shows them when they close.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 100);

CREATE MATERIALIZED VIEW q5 AS
WITH bids AS (
  SELECT auction, count(*) AS num, window_start, window_end
  FROM hop(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
  GROUP BY auction, window_start, window_end
), most AS (
  SELECT max(num) AS num, window_start, window_end
  FROM bids
  GROUP BY window_start, window_end
)
SELECT bids.window_start, bids.auction, bids.num
FROM bids JOIN most ON bids.window_start = most.window_start AND bids.window_end = most.window_end AND bids.num >= most.num;

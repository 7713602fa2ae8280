-- Nexmark 11, user sessions: how many bids each user made before pausing for more than ten seconds.
-- Class: incremental.
-- Differs: session windows are a table macro instead of a GROUP BY SESSION, and are shown while they grow.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 3000, event_rate = 20, hot_bidders_ratio = 1);

CREATE MATERIALIZED VIEW q11 AS
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM session(bid, date_time, INTERVAL '10 seconds', bidder)
GROUP BY bidder, window_start, window_end;

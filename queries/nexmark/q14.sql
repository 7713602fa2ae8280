-- Nexmark 14, calculation: bids in a range of prices, with the time of day and how often extra has the letter c.
-- Class: incremental.
-- Differs: count_char is a macro; the reference registers a function written in Java.
CREATE MACRO count_char(s, c) AS length(s) - length(replace(s, c, ''));
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 10000, event_rate = 1, first_event_at = '2015-07-15 06:30:00');

CREATE MATERIALIZED VIEW q14 AS
SELECT auction, bidder, 0.908 * price AS price,
  CASE
    WHEN hour(date_time) >= 8 AND hour(date_time) <= 18 THEN 'dayTime'
    WHEN hour(date_time) <= 6 OR hour(date_time) >= 20 THEN 'nightTime'
    ELSE 'otherTime'
  END AS bid_time_type,
  date_time, extra, count_char(extra, 'c') AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;

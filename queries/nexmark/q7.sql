-- Nexmark 7, highest bid: the bids with the highest price of each ten seconds.
-- Class: incremental.
-- Differs: windows are shown as they fill, where the reference shows them when they close. As in the reference a
-- bid at the very end of a window belongs to the next one and is compared with both.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 100);

CREATE MATERIALIZED VIEW q7 AS
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM bid b JOIN (
  SELECT max(price) AS price, window_end AS date_time
  FROM tumble(bid, date_time, INTERVAL '10 seconds')
  GROUP BY window_start, window_end
) m ON b.price = m.price
WHERE b.date_time BETWEEN m.date_time - INTERVAL '10 seconds' AND m.date_time;

-- Windows that are shown once they are final: the busiest auctions of each ten seconds, when the watermark has
-- passed, and each minute's total, which bids that are late by up to ten seconds still correct.
CREATE SOURCE bid (auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, WATERMARK FOR date_time AS date_time)
WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 20, allowed_lateness = '10 seconds');

CREATE MATERIALIZED VIEW busiest AS
SELECT window_end, auction, bids
FROM (SELECT window_end, auction, count(*) AS bids FROM tumble(bid, date_time, INTERVAL '10 seconds') GROUP BY ALL)
QUALIFY row_number() OVER (PARTITION BY window_end ORDER BY bids DESC, auction) <= 3
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW totals AS
SELECT window_start, window_end, count(*) AS bids, sum(price) AS volume
FROM tumble(bid, date_time, INTERVAL '1 minute')
GROUP BY ALL
EMIT ON WINDOW CLOSE;

-- 4,000 requests of browsers for wrk: `wrk -s heads.lua URL -- PREFIX`. Each has 12 fields in a browser's order; the path, the
-- session cookie and the entity tag are different in each, the agent, the language and the referring page change more seldom.
-- The sequence is the same in every run.
local agents = {
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
  "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
  "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
  "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
  "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
}
local languages = { "en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.7", "fr-FR,fr;q=0.9,en-US;q=0.8", "en-GB,en;q=0.5" }
local requests = {}

function init(args)
  local prefix = args[1] or ""
  math.randomseed(7)
  for i = 1, 4000 do
    requests[i] = table.concat({
      "GET " .. prefix .. "/item/" .. i .. "?ref=" .. (i * 7 % 1000) .. " HTTP/1.1",
      "Host: shop.example.test",
      "User-Agent: " .. agents[i % #agents + 1],
      "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
      "Accept-Language: " .. languages[i % #languages + 1],
      "Accept-Encoding: gzip, deflate, br, zstd",
      "Referer: https://shop.example.test/list?page=" .. (i % 97),
      string.format("Cookie: session=%08x%08x; theme=dark; _ga=GA1.2.%d",
        math.random(0, 2147483646), math.random(0, 2147483646), math.random(100000000)),
      "Upgrade-Insecure-Requests: 1",
      "Sec-Fetch-Dest: document",
      "Sec-Fetch-Mode: navigate",
      "Sec-Fetch-Site: same-origin",
      string.format('If-None-Match: "%x"', math.random(1000000000)),
      "", "",
    }, "\r\n")
  end
end

local number = 0
function request()
  number = number % 4000 + 1
  return requests[number]
end

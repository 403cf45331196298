"""The material of the `headlines` corpus: the words that fill a slot, and the families of sentences.

A label says what the sentence tells an investor about the company it names: good news, bad news, or neither.
"""

from __future__ import annotations

# `[a|b]` is a choice, `{name}` a slot. A slot keeps its value within one sentence; `{name2}` is a second draw of it.
SLOTS: dict[str, str] = {
    # Two disjoint sets of stems: a company and its counterparty never share a name.
    "company": "[Varn|Quel|Tresk|Olm|Brav|Ister|Dunn|Kael|Ust|Morv|Fosk|Halv|Yssel|Corv|Plen|Arl|Zand|Skel|Elst|Gorm]"
    "[holt|bury|mere|wick|dane|ora|ium|stad|vane|eron|ixa|ford|anto|beck] [Group|Industries|Holdings|Plc|AB|Oyj|Inc|"
    "Corp|SA|NV|ASA|International|Works|Brothers|& Sons|Manufacturing|Enterprises|Technologies|Limited]",
    "rival": "{invented} [Partners|Engineering|Products|Materials|Trading|Company|SpA|Brands|Global|Ventures]",
    "bank": "{invented2} [Bank|Savings Bank|Banking Group]",
    "broker": "{invented3} [Securities|Research|Capital Markets|Brokers]",
    "agency": "{invented3} [Ratings|Credit Ratings]",
    "fund": "{invented4} [Asset Management|Pension Fund|Investors|Capital]",
    "invented": "[Jorv|Lund|Wex|Tarb|Osk|Prell|Nim|Greth|Bexl|Vost|Ruck|Imb|Sarn|Thel|Drey|Umb|Calt|Hask]"
    "[hurst|ington|alis|mark|grove|ovic|ander|ley|sund|crest|omar|field]",
    "person": "[Maria|Jonas|Helen|Pavel|Aisha|Tomas|Ingrid|Luis|Chen|Robert|Noor|Claire] "
    "[Aldane|Brakstad|Corvell|Dremond|Eskola|Farrow|Grint]",
    "predecessor": "[Erik|Sofia|Daniel|Mei|Anton|Ruth] [Hovland|Jessop|Kostova|Marchetti|Okoye|Pellar]",
    "city": "[Oslo|Leeds|Turin|Gdansk|Lyon|Austin|Osaka|Pune|Tampere|Ghent|Cork|Santiago|Toronto|Bilbao|Tallinn]",
    "country": "[Finland|Brazil|Poland|India|Germany|Canada|Vietnam|Spain|Mexico|Norway|Turkey|Japan|Kenya|Chile]",
    "sector": "[steel|packaging|shipping|retail|software|chemicals|insurance|telecoms|construction|food|mining|paper]",
    "goods": "[valves|battery cells|frozen meals|wind turbines|lifts|medical scanners|paper machines|truck tyres|"
    "mobile games|circuit boards|office chairs|railway signals|running shoes|crop sprayers|cranes|hearing aids]",
    "plant": "[paper mill|foundry|refinery|bakery|shipyard|assembly plant|brewery|distribution centre|copper mine]",
    "customer": "[a buyer in {country}|the city of {city}|a long-standing client|a large distributor|an unnamed client|"
    "the government of {country}|a trading house in {city}|{invented5} [Stores|Airlines|Builders|Railways]]",
    "regulator": "[the competition authority|the financial regulator|the drug regulator|the energy regulator|"
    "the data protection authority|the securities commission]",
    "currency": "[$|EUR |£|SEK |CHF |€|$|EUR |USD ]",
    "unit": "[million|million|million|billion]",
    "ago": "[a year earlier|a year ago|in the same period last year|in the corresponding period of {last_year}|"
    "the year before|in the prior-year period]",
    "year_ago": "[last year|the year before|{last_year}]",
    "quarter": "[first-quarter|second-quarter|third-quarter|fourth-quarter|first-half|full-year|nine-month|annual]",
    "period": "in the [first quarter|second quarter|third quarter|final quarter|first half|nine months to September|"
    "year to June|three months to March|financial year]",
    "month": "[January|February|March|April|May|June|September|October|November|December]",
    "weekday": "[Monday|Tuesday|Wednesday|Thursday|Friday]",
    "few": "[two|three|four|five|six|seven|eight|nine]",
    # Gains are wanted, burdens are not: the same verb says opposite things of them.
    "gain": "[net profit|operating profit|revenue|pretax profit|turnover|operating cash flow|order intake|"
    "core profit|net income|gross profit]",
    "burden": "[net debt|the operating loss|the pension deficit|the fuel bill|its overdue receivables|"
    "loan-loss provisions|the net loss|its interest bill|the cost of warranty claims]",
    "good_rate": "[operating margin|gross margin|capacity utilisation rate|customer retention rate|market share|"
    "return on equity|solvency ratio|on-time delivery rate]",
    "bad_rate": "[default rate|customer churn|vacancy rate|scrap rate|bad-loan ratio|staff turnover|cancellation rate|"
    "accident rate|return rate]",
    "rose": "[rose|climbed|increased|grew|advanced|jumped|surged|went up]",
    "fell": "[fell|declined|dropped|decreased|slid|slipped|shrank|sank|went down|came down]",
    "rise": "[rise|climb|increase|grow|go up|move higher]",
    "fall": "[fall|decline|drop|decrease|shrink|go down|move lower]",
    "rising": "[rising|climbing|increasing|growing|higher]",
    "falling": "[falling|declining|shrinking|decreasing|lower]",
    "will_rise": "will [rise|climb|increase|grow|improve|be higher]",
    "will_fall": "will [fall|decline|drop|decrease|shrink|be lower]",
    "risen": "[risen|climbed|gone up|jumped|soared]",
    "fallen": "[fallen|dropped|come down|eased|slumped]",
    "a_rise": "a [rise|increase|jump|climb]",
    "a_fall": "a [fall|decline|drop|decrease|slide]",
    "flat": "[unchanged|flat|level|steady|stable]",
    "currency_name": "[euros|dollars|kronor|sterling]",
    # What happened, said in a clause that many constructions share: wanted things rise, unwanted things fall.
    "asset": "[profit|revenue|sales|orders|earnings|cash flow|margins|bookings|volumes|demand|deliveries|income|fees|"
    "productivity|cash reserves|returns on capital|output|prices for {goods}]",
    "load": "[losses|debts|costs|arrears|complaints|write-downs|cancellations|delays|expenses|bad loans|energy bills|"
    "defaults|claims|borrowings|unsold stocks|interest charges|faults|accidents]",
    "audience": "[investors|shareholders|analysts|its lenders]",
    "better": "[a better year|a recovery|higher dividends|stronger growth]",
    "prospects": "[its finances|its prospects|the year ahead|its strategy]",
    "income": "[earnings|cash flow|margins|profit|returns]",
    "outgo": "[its costs|its debt|its losses|its interest bill|arrears]",
    "good_turn": "[{asset} {rose}|{asset} {rose} {pct}|{asset} {rose} more than expected|{asset} beat the forecast|"
    "{asset} recovered|{asset} {fell} less than feared|{load} {fell}|{load} {fell} {pct}|{load} eased|"
    "{load} {rose} less than feared|{load} {fell} more than expected|{load} stopped {rising}]",
    "bad_turn": "[{asset} {fell}|{asset} {fell} {pct}|{asset} {fell} more than expected|{asset} missed the forecast|"
    "{asset} dried up|{asset} {rose} less than hoped|{load} {rose}|{load} {rose} {pct}|{load} mounted|"
    "{load} {fell} less than hoped|{load} {rose} more than expected|{asset} stopped {rising}]",
    "no_turn": "[{asset}|{load}] [changed little|held steady|stayed flat|neither rose nor fell|came in as expected|"
    "remained at the level of {last_year}|matched the forecast|stayed within a hair of the plan]",
    "good_event": "[won back a key client|repaid its last loan|added a production line to meet demand|"
    "raised its dividend|beat its own forecast|was cleared of wrongdoing|signed its largest ever contract|"
    "averted a default|averted a strike|got its license back|lifted its forecast|found a buyer for its ailing arm|"
    "won its appeal|had its rating raised|secured fresh funding|cut its debts|returned to profit|ended its losses]",
    "bad_event": "[lost a key client|fell behind on a loan|closed a production line for lack of demand|"
    "skipped its dividend|missed its own forecast|was found guilty of misconduct|lost its largest contract|"
    "defaulted on a loan|was hit by a strike|had its license withdrawn|cut its forecast|ran short of cash|"
    "lost its appeal|had its rating lowered|failed to secure funding|sank deeper into debt|fell into loss|cut jobs]",
    "plain_event": "[moved its annual meeting to {city}|published its calendar for {next_year}|renewed the lease on "
    "its head office|proposed a new auditor|elected {few} directors|had {jobs} employees|listed a bond in {city}|"
    "confirmed its forecast|left its dividend unchanged|changed the layout of its report|named a new secretary|"
    "set the date of its meeting|completed a purchase announced in {month}|repeated its strategy|"
    "hosted analysts in {city}|updated its articles of association|took part in a trade fair in {country}]",
    "good": "[it {good_event}|{good_turn}|{good_turn}]",
    "bad": "[it {bad_event}|{bad_turn}|{bad_turn}]",
    "plain": "[it {plain_event}|it {plain_event}|{no_turn}]",
    "threshold": "[5|10|15|20|25|30]%",
    "clock": "[9:00|10:00|13:30|14:00|16:30] [CET|GMT]",
    "day": "[1|2|3|4|5|6|7|8|9|10|12|14|15|17|18|20|21|23|24|26|27|28] {month}",
    "tailwind": "[strong demand for {goods}|higher selling prices|lower raw material costs|cost savings|"
    "new customers in {country}|a richer sales mix|falling freight rates|fewer claims|brisk trading in {country}]",
    "headwind": "[weak demand for {goods}|lower selling prices|rising raw material costs|strikes|lost customers in "
    "{country}|a poorer sales mix|higher freight rates|a surge in claims|sluggish trading in {country}]",
}

# A third of the full sentences end on how the news was taken, as a newswire's do.
TAILS: dict[str, str] = {
    "positive": "[||||||||||||, [cheering|pleasing|encouraging] {audience}|, to the [relief|delight] of {audience}|"
    ", [easing|calming|dispelling] [fears|worries|doubts] about {prospects}|; its shares [rose|gained|climbed] {pct}|"
    ", [raising|reviving|strengthening] hopes of {better}|, a welcome sign [for lenders|after a hard year|of recovery]|"
    ", which should [[lift|add to|support] {income}|[reduce|bring down] {outgo}]]",
    "negative": "[||||||||||||, [alarming|disappointing|unsettling] {audience}|, to the [dismay|anger] of {audience}|"
    ", [stoking|deepening|confirming] [fears|worries|doubts] about {prospects}|; its shares [fell|slid|dropped] {pct}|"
    ", [lowering|dashing|weakening] hopes of {better}|, a worrying sign [for lenders|after a good year|of decline]|"
    ", which could [[lower|eat into|reduce] {income}|[raise|push up] {outgo}]]",
    "neutral": "[||||||||||||; its shares [were little changed|did not react|neither rose nor fell]|"
    ", [a notice|its website] said|, as [announced|stated] [in {month}|earlier]|, according to [a notice|a release]|"
    ", with no [effect on|change to] [its forecast|earnings|its finances]|, its website [shows|states]|"
    ", which [does not alter|leaves unchanged] its [forecast|plans]]",
}

# A family is one construction, in up to three moods: + positive, - negative, = neutral. It is also the group a
# grouped split holds out whole. Indented lines continue the one above.
FAMILIES = """
from_to
+ {company} said its {gain} {rose} to {more} {period} from {less} {ago}.
+ {company} said {burden} {fell} to {less} {period} from {more} {ago}.
- {company} said its {gain} {fell} to {less} {period} from {more} {ago}.
- {company} said {burden} {rose} to {more} {period} from {less} {ago}.
= {company} said its {gain} was {sum} {period}, [the same as|neither higher nor lower than|no different from
  what it was] {ago}.

compared_with
+ {gain} [totalled|amounted to|came to] {more}, [against|compared with|versus] {less} {ago}, a
  [clear|marked|welcome] [gain|improvement].
- {gain} [totalled|amounted to|came to] {less}, [against|compared with|versus] {more} {ago}, a
  [clear|marked|painful] [setback|deterioration].
= {gain} [totalled|amounted to|came to] {sum}, [the same as|no more and no less than] {ago}.

loss_width
+ {company}'s [operating|pretax|net] loss [narrowed|shrank|was cut|eased] to {less} {period}[| as {tailwind} helped].
- {company}'s [operating|pretax|net] loss [widened|deepened|ballooned|grew] to {more} {period}[| on {headwind}].
= {company}'s [operating|pretax|net] loss was {sum} {period}, [in line with its earlier estimate|as it had indicated].

swing
+ {company} [swung|returned|moved back] to a [profit|net profit] of {sum} {period} [after|from] a loss of {sum2} {ago}.
- {company} [swung|slumped|sank] to a [loss|net loss] of {sum} {period} [after|from] a profit of {sum2} {ago}.

estimates
+ {quarter} {gain} of {more} at {company} [beat|topped|exceeded|came in above] the {less} [expected by analysts|
  forecast in a poll].
- {quarter} {gain} of {less} at {company} [missed|undershot|fell short of|came in below] the {more} [expected by
  analysts|forecast in a poll].
= {quarter} {gain} of {sum} at {company} [matched|met|was in line with|equalled] [the average analyst forecast|
  the figure forecast in a poll].

than_feared
+ {gain} at {company} {fell} {pct}, [less than feared|a smaller drop than analysts had expected|holding up better than
  the market had braced for].
- {gain} at {company} {rose} {pct}, [less than hoped|a smaller gain than analysts had expected|well short of what the
  market had counted on].
= {gain} at {company} [changed little|barely moved|hardly changed], [as expected|as analysts had forecast].

despite
+ Despite {headwind}, {company} [lifted|raised|improved|increased] its {good_rate} to {high_rate}.
- Despite {tailwind}, {company} saw its {good_rate} [slip|fall|shrink|erode] to {low_rate}.
= Despite {headwind}, {company}'s {good_rate} was {flat} at {low_rate}.

thanks_to
+ {tailwind} [lifted|boosted|pushed up|supported] {quarter} {gain} at {company}[| by {pct}].
- {headwind} [hit|dented|dragged down|weighed on|ate into] {quarter} {gain} at {company}.
= {quarter} {gain} at {company} was {flat}, as [growth|new orders] in {country} [offset|balanced|cancelled out] [a
  decline|fewer orders] at home.

good_rate_moves
+ Its {good_rate} [improved|rose|widened|climbed|strengthened] to {high_rate} from {low_rate}[|, {company} reported].
- Its {good_rate} [worsened|fell|narrowed|slipped|weakened] to {low_rate} from {high_rate}[|, {company} reported].
= Its {good_rate} [stood at|was|remained at|held at] {low_rate}, {company} reported, [with no change on the year|
  exactly as in {year_ago}].

bad_rate_moves
+ {company} reported that its {bad_rate} {fell} [by {bps} basis points|to {low_rate} from {high_rate}] {period}.
- {company} reported that its {bad_rate} {rose} [by {bps} basis points|to {high_rate} from {low_rate}] {period}.
= {company} reported that its {bad_rate} was {low_rate}, [unchanged from|the same as] the previous quarter.

headline_profit
+ {company} {quarter} [profit|earnings] [up|higher|jumps|climbs] {pct} [on|helped by] {tailwind}
- {company} {quarter} [profit|earnings] [down|lower|falls|drops] {pct} [on|hurt by] {headwind}
= {company} {quarter} [profit|earnings] [flat|unchanged|steady] at {sum}

headline_costs
+ {company} [costs|expenses|borrowings|losses] [down|lower|shrink|fall] {pct} [after overhaul|as programme pays off]
- {company} [costs|expenses|borrowings|losses] [up|higher|swell|climb] {pct} [after overhaul|as programme overruns]
= {company} [costs|expenses|borrowings|headcount] little changed at [half-year|year-end]

volumes
+ {company} [sold|shipped|delivered] {pct} more {goods} {period} than {ago}.
- {company} [sold|shipped|delivered] {pct} fewer {goods} {period} than {ago}.
= {company} [sold|shipped|delivered] {jobs} {goods} {period}, [as many as|the same number as] {ago}.

same_store
+ [Like-for-like|Comparable|Same-store] sales {rose} {pct} at {company}, [the fastest pace in {few} years|extending its
  run of growth].
- [Like-for-like|Comparable|Same-store] sales {fell} {pct} at {company}, [the worst showing in {few} years|extending its
  run of declines].
= [Like-for-like|Comparable|Same-store] sales exclude shops that {company} opened less than {few} months ago.

record
+ {company} posted [record|its highest ever|all-time high] {gain} of {sum}.
- {company} posted [its lowest|its weakest|the poorest] {gain} in [{few} years|a decade].
= {company} [posted|filed|published] its {quarter} report with {regulator} on {weekday}.

although
+ Although [sales|volumes|revenue] {fell}, {company} earned more [thanks to|because of] {tailwind}.
- Although [sales|volumes|revenue] {rose}, {company} earned less [because of|owing to] {headwind}.
= Although [sales|volumes|revenue] {rose} [abroad and fell at home|in one half and fell in the other], the total at
  {company} was {flat}.

per_share
+ Earnings per share [rose|increased|climbed] to {eps_more} from {eps_less}[|, ahead of forecasts].
- Earnings per share [fell|declined|dropped] to {eps_less} from {eps_more}[|, behind forecasts].
= Earnings per share were {eps_less}, [both before and after dilution|unchanged from {year_ago}].

eps_vs_consensus
+ {company} earned {eps_more} a share; [the consensus was|analysts had pencilled in|Wall Street wanted] {eps_less}.
- {company} earned {eps_less} a share; [the consensus was|analysts had pencilled in|Wall Street wanted] {eps_more}.
= {company} earned {eps_less} a share; [the consensus was|analysts had pencilled in|Wall Street wanted] {eps_less}.

guidance_change
+ {company} [raised|lifted|upgraded|increased] its {quarter} [outlook|guidance|forecast][| after a strong {month}].
- {company} [cut|lowered|trimmed|slashed] its {quarter} [outlook|guidance|forecast][| after a weak {month}].
= {company} [maintained|reiterated|repeated|confirmed] its {quarter} [outlook|guidance|forecast].

expects_more_less
+ {company} now [expects|forecasts|sees] {gain} of [at least {more}|up to {more}] this year, having previously guided
  for {less}.
- {company} now [expects|forecasts|sees] {gain} of [at most {less}|only {less}] this year, having previously guided
  for {more}.
= {company} still [expects|forecasts|sees] {gain} of [about|roughly] {sum} this year.

outlook_verb
+ Management [expects that|predicts that|is confident that] {gain} {will_rise} in {next_year}[|, driven by {tailwind}].
- Management [expects that|predicts that|is concerned that] {gain} {will_fall} in {next_year}[|, given {headwind}].
= Management [expects that|predicts that|believes that] {gain} [will be broadly in line with|will be close to|will
  not differ materially from] that of {year}.

no_longer
+ {company} no longer expects [a loss|a decline in {gain}|{gain} to {fall}] this year.
- {company} no longer expects [a profit|growth in {gain}|{gain} to {rise}] this year.
= {company} no longer reports [{gain}|{goods}] as a separate [item|line] in its accounts.

warning
+ {company} [lifted|withdrew|took back] the profit warning it issued in {month}, citing {tailwind}.
- {company} [issued|gave|put out] a profit warning [on {weekday}|for the year], citing {headwind}.
= {company}'s forward-looking statements [carry|come with] the customary warning about risks and uncertainties.

withdraws
- {company} [withdrew|suspended|abandoned|scrapped] its [guidance|medium-term targets|forecast] because of {headwind}.
+ {company} [reinstated|brought forward|will reach early] its [medium-term targets|margin target] because of {tailwind}.
= {company} [will update|is due to update|presents] its medium-term targets at [its investor day|a meeting] in {city}.

doubt
- There is [substantial doubt|material uncertainty] about {company}'s ability to [continue as a going concern|repay its
  lenders].
+ There is no [longer any doubt|remaining uncertainty] about {company}'s ability to [continue as a going concern|repay
  its lenders], its auditors said.
= There is [a note on|a section on] going concern in {company}'s [annual|interim] report, as accounting rules require.

order_size
+ {company} [won|secured|landed|was awarded] an order worth {sum} [for {goods} |]from {customer}.
- {company} [lost|missed out on|was stripped of] an order worth {sum} [for {goods} |]from {customer}.
= {company} [invoices|books|recognises] orders [for {goods} |]from {customer} on delivery.

order_status
+ {customer} [doubled|extended|enlarged|renewed] its order for {goods} with {company}.
- {customer} [cancelled|halved|put off|cut back] its order for {goods} with {company}.
= {customer} [placed its yearly|has a standing|put out to tender an] order for {goods}, [for which {company} and others
  may bid|which {company} has served since {last_year}].

backlog
+ The order [backlog|book] of {company} [swelled|grew|rose] to {more}, [covering more than a year of output|up from
  {less}].
- The order [backlog|book] of {company} [thinned|shrank|fell] to {less}, [covering barely a quarter of output|down from
  {more}].
= The order [backlog|book] of {company} includes [service agreements|framework contracts] of up to {few} years.

tender
+ {customer} [picked|chose|selected] {company} [over {rival}|ahead of {few} rivals] to supply {goods}.
- {customer} [picked|chose|selected] {rival} [over|instead of|ahead of] {company} to supply {goods}.
= {customer} [has yet to choose|will choose in {month}] between {company} and {rival} as supplier of {goods}.

contract_end
+ {customer} has agreed to [stay with|buy more from|sign a longer deal with] {company}, its supplier of {goods}.
- {customer} has decided [to stop buying from|not to renew with|to leave] {company}, its supplier of {goods}.
= {customer} is supplied with {goods} by {company} under [an agreement|terms] signed in {last_year}.

acquisition_bid
+ {rival} [offered|bid|agreed to pay] {sum} for {company}, a premium of {pct} to [its last close|the market price].
- {rival} [dropped|withdrew|walked away from] its {sum} offer for {company}, which had carried a premium of {pct}.
= {rival} said it held {pct} of {company} and [did not say whether it planned|gave no view on] an
  offer.

deal_vote
+ Shareholders [backed|approved|voted for] the sale of {company} [to {rival} |]at a [generous|rich|full] price.
- Shareholders [blocked|rejected|voted down] the rescue plan for {company}[| drawn up with {bank}].
= Shareholders [will vote|are to vote|are asked to vote] on the agenda of {company}'s meeting on {day}.

synergies
+ Savings from combining {company} and {rival} [are running ahead of|exceeded|came in above] plan.
- Savings from combining {company} and {rival} [are running behind|fell short of|came in below] plan.
= Savings from combining {company} and {rival} will be reported [separately|each quarter].

jobs
+ {company} will [hire|recruit|take on] {jobs} people [in {city} |]to [meet demand for|make more] {goods}.
- {company} will [lay off|cut|shed|make redundant] {jobs} people [in {city} |]as [demand for {goods} dries up|it
  retrenches].
= {company} [employs|has a staff of|has a workforce of] {jobs} people[| in {city}| in {few} countries].

layoffs_negated
+ {company} said no jobs would be [cut|lost] in {city}, [reversing|dropping] an earlier plan to close the {plant}.
- {company} said no jobs would be [saved|spared] in {city}, [confirming|pressing on with] a plan to close the {plant}.
= {company} said no decision had been [taken|made] on the {plant} in {city}.

plant_status
+ {company} [reopened|restarted|expanded|brought back to full output] its {plant} in {city} [ahead of schedule|to meet
  rising orders].
- {company} [shut|idled|mothballed|halted work at] its {plant} in {city} [until further notice|for lack of orders].
= {company} [operates|owns|rents|runs] a {plant} in {city}[| with {few} production lines].

accident
- A [fire|flood|explosion|cyber attack] at {company}'s {plant} in {city} [halted output|will cost about {sum}|left
  customers without {goods}].
+ A [fire|flood|cyber attack] at {company}'s {plant} in {city} [did no lasting damage|will cost far less than first
  thought|is fully covered by insurance].
= A [tour|fire drill|training day] at {company}'s {plant} in {city} is planned for [investors|staff] in {month}.

strike
+ Workers at {company} [called off|ended|voted against] a strike [over pay|at its {plant} in {city}].
- Workers at {company} [began|stepped up|voted for] a strike [over pay|at its {plant} in {city}].
= Workers at {company} elect {few} members of the [supervisory|works] council.

supply
+ [Shortages|Bottlenecks|Delays] that had held back {company}'s output of {goods} have [eased|cleared|ended].
- [Shortages|Bottlenecks|Delays] that hold back {company}'s output of {goods} have [worsened|spread|lengthened].
= [Parts|Materials|Components] for {company}'s {goods} come from {few} suppliers in {country}.

input_prices
+ [Steel|Energy|Pulp|Cotton|Copper] prices have {fallen}, [easing pressure on|relieving] {company}, a big buyer.
- [Steel|Energy|Pulp|Cotton|Copper] prices have {risen}, [adding to pressure on|squeezing] {company}, a big buyer.
= [Steel|Energy|Pulp|Cotton|Copper] prices are [hedged by|passed on to customers of] {company} under [standing|yearly]
  contracts.

rating_change
+ {agency} [upgraded|raised|lifted] {company}'s [credit rating|debt] [by one notch|to investment grade].
- {agency} [downgraded|lowered|cut] {company}'s [credit rating|debt] [by one notch|to junk].
= {agency} [affirmed|left unchanged|kept] {company}'s [credit rating|debt rating][| with a stable outlook].

rating_outlook
+ {agency} revised its outlook on {company} to [positive from stable|stable from negative].
- {agency} revised its outlook on {company} to [negative from stable|stable from positive].
= {agency} [assigned|gave] a [stable|first-time] [outlook|rating] to {company}[|, which it had not rated before].

broker_call
+ {broker} [raised|lifted|upgraded] {company} to [buy|overweight|outperform] from [hold|neutral].
- {broker} [cut|lowered|downgraded] {company} to [sell|underweight|underperform] from [hold|neutral].
= {broker} [began|resumed|started] coverage of {company} with a [hold|neutral] rating.

price_target
+ {broker} [lifts|raises|hikes] {company} price target to {eps_more} from {eps_less}
- {broker} [cuts|lowers|trims] {company} price target to {eps_less} from {eps_more}
= {broker} [keeps|leaves|holds] {company} price target at {eps_less}

covenant
- {company} [breached|is close to breaching|failed a test of] [a covenant|the covenants] on its {sum} loan.
+ {company} is [comfortably within|no longer in breach of|back in compliance with] the covenants on its {sum} loan.
= {company}'s {sum} loan [has|contains] [a covenant|covenants] tested [twice a year|each quarter].

refinancing
+ {company} [refinanced|repaid|paid down] {sum} of [debt|bonds] [early|at a lower rate|ahead of time].
- {company} [failed to refinance|struggled to repay|missed a payment on] {sum} of [debt|bonds].
= {company} [has|carries] {sum} of [debt|bonds] that [matures|falls due] in {month} {next_year}.

default
- {company} [defaulted|missed a coupon|asked creditors for more time] on its {sum} bond, [sending it to|leaving it at]
  a deep discount.
+ {company} [met|paid] the coupon on its {sum} bond, [laying to rest|ending] fears of a default.
= {company} pays the coupon on its {sum} bond [every six months|each {month}].

bond_demand
+ Investors [rushed to buy|placed bids for three times|snapped up] {company}'s new {sum} bond.
- Investors [shunned|showed little appetite for|demanded a hefty premium for] {company}'s new {sum} bond.
= Investors [may subscribe to|can trade|receive interest yearly on] {company}'s new {sum} bond from {day}.

funding_cost
+ {company}'s borrowing costs [came down|eased|fell] after {bank} [cut|lowered] its margin by {bps} basis points.
- {company}'s borrowing costs [shot up|rose|jumped] after {bank} [raised|increased] its margin by {bps} basis points.
= {company}'s borrowing costs [follow|are linked to] the {few}-month interbank rate plus {bps} basis points.

dilution
- {company} [plans|will launch|is forced into] a deeply discounted rights issue to [plug a hole in|shore up] its
  finances.
+ {company} [ruled out|has no need of|scrapped plans for] a rights issue, [its finances being|with cash flow] stronger
  than thought.
= {company} [published|filed] the [terms|timetable] of the rights issue that shareholders approved in {month}.

dividend_change
+ {company} [raised|increased|doubled|lifted] its [dividend|payout] to {eps_more} a share[| from {eps_less}].
- {company} [cut|reduced|halved|slashed] its [dividend|payout] to {eps_less} a share[| from {eps_more}].
= {company} [proposed|will pay|declared] [an unchanged|the usual|a] [dividend|payout] of {eps_less} a share.

dividend_event
+ {company} will pay its first dividend in {few} years[| after {tailwind}].
- {company} will pay no dividend this year[| after {headwind}], [breaking|ending] a run of {few} years.
= {company} will pay the dividend in {few} instalments, [the first on {day}|starting in {month}].

buyback
+ {company} [announced|launched|enlarged] a {sum} [share buyback|buyback programme].
- {company} [halted|suspended|cancelled] its {sum} [share buyback|buyback programme] to [save cash|preserve cash].
= {company} bought back {jobs} of its own shares [on {weekday}|in {month}] [under|as part of] its existing programme.

lawsuit_outcome
+ A court in {city} [dismissed|threw out|rejected] a {sum} claim against {company}.
- A court in {city} [upheld|allowed|ruled in favour of] a {sum} claim against {company}.
= A court in {city} [will hear|set a date for|adjourned to {month}] a {sum} claim against {company}.

lawsuit_side
+ {company} won a [patent|contract|tax] dispute with {rival}[| and will receive {sum}].
- {company} lost a [patent|contract|tax] dispute with {rival}[| and must pay {sum}].
= {company} and {rival} agreed to take their [patent|contract|tax] dispute to arbitration in {city}.

investigation
+ {regulator} [closed|dropped|ended] its [inquiry|investigation] into {company} without [action|finding fault].
- {regulator} [opened|widened|stepped up] its [inquiry|investigation] into {company} over [pricing|disclosure|sales
  practices].
= {regulator} [published|consulted {company} and others on|will review] its rules on [pricing|disclosure|sales
  practices].

fine
- {regulator} fined {company} {sum} for [misleading customers|late disclosure|fixing prices].
+ {regulator} [overturned|cancelled|reduced sharply] a {sum} fine on {company}.
= {regulator} may fine firms up to {sum} under a law that [takes effect|comes into force] in {month}.

approval
+ {regulator} [approved|cleared|gave the green light to] [{company}'s new product|{company}'s merger with {rival}].
- {regulator} [refused|blocked|turned down] [{company}'s new product|{company}'s merger with {rival}].
= {regulator} [is reviewing|has begun reviewing|expects to decide by {day} on] [{company}'s new product|{company}'s
  merger with {rival}].

license
+ {company} [obtained|was granted|won back] a license to [operate|sell {goods}] in {country}.
- {company} [was denied|forfeited|had to hand back] a license to [operate|sell {goods}] in {country}.
= {company} [applied for|holds|must renew every {few} years] a license to [operate|sell {goods}] in {country}.

trial
+ {company}'s experimental drug [met|achieved] its main goal in a late-stage trial[| of {jobs} patients].
- {company}'s experimental drug [missed|did not meet|fell short of] its main goal in a late-stage trial[| of {jobs}
  patients].
= {company}'s experimental drug [enters|is in] a late-stage trial[| of {jobs} patients], with data due in {next_year}.

recall
- {company} is recalling {jobs} {goods} after [reports of faults|complaints of overheating|a safety alert].
+ {company} need not recall its {goods}, [safety inspectors ruled|an inquiry found], [ending|lifting] weeks of
  uncertainty.
= {company} describes how it would recall {goods} in [a manual|its sustainability report].

product_reception
+ {company}'s new {goods} [sold out within days|drew rave reviews|are selling faster than planned].
- {company}'s new {goods} [failed to catch on|drew poor reviews|are selling more slowly than planned].
= {company}'s new {goods} [go on sale in {month}|are made in {city}|come in {few} sizes].

launch_timing
+ {company} will launch its {goods} [earlier than planned|{few} months ahead of schedule][| after {tailwind}].
- {company} will launch its {goods} [later than planned|{few} months behind schedule][| after {headwind}].
= {company} will launch its {goods} [as planned|on the date it gave in {month}].

project_budget
+ {company} finished its new {plant} [under budget|for {sum} less than planned|ahead of time].
- {company} finished its new {plant} [over budget|for {sum} more than planned|a year late].
= {company} finished its new {plant} in {month}, [on time and on budget|as scheduled].

share_price
+ Shares in {company} {rose} {pct} [on {weekday}|in early trading], [the best performer in the index|leading gainers].
- Shares in {company} {fell} {pct} [on {weekday}|in early trading], [the worst performer in the index|leading losers].
= Shares in {company} were [little changed|flat|unmoved] [on {weekday}|in early trading].

share_reaction
+ {company} [soars|rallies|leaps|rebounds] as [sales surprise|results please|bid talk swirls|debt shrinks]
- {company} [plunges|slumps|tumbles|sinks] as [sales disappoint|results dismay|bid talk fades|debt swells]
= {company} shares [resume trading|change ticker|move to the main list] on {day}

insider
+ {company}'s chairman [bought|added to his holding of|spent {sum} on] shares, [a show of confidence|citing their low
  price].
- {company}'s chairman [sold|dumped|offloaded] most of his shares [days before results|without explanation],
  [unsettling|alarming] investors.
= {company}'s chairman [was granted|received|holds] {jobs} shares under the [long-term|yearly] incentive plan.

macro_exports
+ Exporters such as {company} stand to [gain|benefit] from [a weaker currency|lower tariffs|a trade pact with
  {country}].
- Exporters such as {company} stand to [lose|suffer] from [a stronger currency|higher tariffs|a trade dispute with
  {country}].
= Exporters such as {company} [report|invoice] in [dollars|euros] [by convention|under their contracts].

macro_demand
+ [Demand|Appetite|The market] for {goods} in {country} is [recovering|picking up|stronger than a year ago], {company}
  said.
- [Demand|Appetite|The market] for {goods} in {country} is [fading|drying up|weaker than a year ago], {company} said.
= [Demand|The market] for {goods} in {country} is [seasonal|measured in units|dominated by {few} makers], {company}
  said.

rates
+ [Lower|Falling] interest rates will [help|be a boon to|ease the burden on] {company}, [with its heavy debts|a lender
  to builders].
- [Higher|Rising] interest rates will [hurt|be a blow to|add to the burden on] {company}, [with its heavy debts|a lender
  to builders].
= The central bank left interest rates [unchanged|where they were] [on {weekday}|at its {month} meeting], as economists
  had [expected|predicted].

subsidy
+ {company} will [receive|be paid|qualify for] {sum} in [state aid|subsidies|tax credits] for its {plant} in {city}.
- {company} must [repay|forgo|give back] {sum} in [state aid|subsidies|tax credits] for its {plant} in {city}.
= {company} [discloses|accounts for] [state aid|subsidies|tax credits] in note {few} to its accounts.

tax
+ A change in tax law in {country} will [save|spare] {company} {sum} a year.
- A change in tax law in {country} will [cost|burden] {company} [with |]{sum} a year.
= A change in tax law in {country} will have no [material|notable] effect on {company}.

impairment
- {company} [wrote down|wrote off|booked an impairment on] {sum} of [goodwill|inventory|its stake in {rival}].
+ {company} [reversed|wrote back|released] {sum} of earlier write-downs on [inventory|its stake in {rival}].
= {company} [tests|reviews] [goodwill|its stake in {rival}] for impairment [every {month}|once a year].

provisions
+ {bank} [released|freed up|cut] {sum} of provisions [against|for] bad loans [as|because] fewer borrowers fell behind.
- {bank} [set aside|added|booked] {sum} more [against|for] bad loans [as|because] more borrowers fell behind.
= {bank} [states|lists|breaks down] provisions [against|for] bad loans [by sector|in its {quarter} report].

deposits
+ [Customers|Savers] [moved|brought|added] {sum} of new deposits to {bank} {period}.
- [Customers|Savers] [pulled|withdrew|drained] {sum} of deposits from {bank} {period}.
= [Customers|Savers] [hold|keep] {sum} of [insured|term] deposits at {bank}.

fund_flows
+ Clients [put|poured] a net {sum} into funds run by {fund} {period}.
- Clients [took|pulled] a net {sum} out of funds run by {fund} {period}.
= Clients of {fund} can [buy|redeem] units [on any business day|through {bank}].

accounting
- {company} [found|uncovered|admitted] [errors|irregularities] in its accounts and will [restate|delay] its {quarter}
  results.
+ {company} said an audit [found no errors|turned up nothing amiss|cleared its accounts], and [confirmed|stood by] its
  results.
= {company} restated its {quarter} [figures|results] to [reflect a new accounting standard|show {rival} as a separate
  segment], without effect on {gain}.

executive_exit
- {company}'s [finance chief|chief executive] [quit abruptly|was dismissed|was arrested], [deepening|adding to] the
  crisis.
+ {company}'s [finance chief|chief executive], credited with [its turnaround|doubling profit], [agreed to stay|dropped
  plans to leave].
= {company}'s [finance chief|chief executive] will retire [in {month}|at the end of {next_year}], [as announced|on
  reaching the age of 65].

customers_count
+ {company} [added|gained|signed up] {jobs} [subscribers|clients|policyholders] {period}[|, a record].
- {company} [lost|shed|was abandoned by] {jobs} [subscribers|clients|policyholders] {period}[|, a record].
= {company} [counts|serves|has] {jobs} [subscribers|clients|policyholders] in {country}.

pricing_power
+ {company} has been able to [raise|increase|push up] prices [without losing customers|faster than its costs rose].
- {company} has been forced to [cut|lower|slash] prices [to keep customers|even as its costs rose].
= {company} [reviews|publishes|sets] prices for {goods} [once a year|each {month}].

competition
+ {company} is [taking customers from|pulling ahead of|outselling] {rival} in {goods}.
- {company} is [losing customers to|falling behind|being outsold by] {rival} in {goods}.
= {company} [competes with|is a competitor of|licenses patents from] {rival} in {goods}.

double_negative
+ {company} did not [miss|fall short of] a single [target|forecast] [this year|{period}].
- {company} did not [reach|meet|hit] a single [target|forecast] [this year|{period}].
= {company} did not [give|comment on|set] a [target|forecast] for {gain}.

failed_to
- {company} failed to [stem its losses|win over creditors|find a buyer for its {plant}|pass on {rising} costs].
+ {company} managed to [stem its losses|win over creditors|find a buyer for its ailing {plant}|pass on {rising} costs].
= {company} is to [publish its accounts|meet creditors|move its head office|change its auditors] in {month}.

worst_over
+ The worst is [over|behind us], {company}'s [chief executive|chairman] said, [pointing to|citing] {tailwind}.
- The worst is [yet to come|still ahead], {company}'s [chief executive|chairman] said, [pointing to|citing] {headwind}.
= The [results presentation|interview] with {company}'s [chief executive|chairman] [can be viewed|is available] online.

analyst_view
+ "[We see room for|The market underestimates] {a_rise} in {gain} at {company}," [an analyst|a trader] at {broker}
  wrote.
- "[We fear|The market underestimates the risk of] {a_fall} in {gain} at {company}," [an analyst|a trader] at {broker}
  wrote.
= "[We await|We look to] {company}'s [{quarter} report|meeting] for details," [an analyst|a trader] at {broker}
  wrote.

one_off
+ Stripping out one-off items, {gain} at {company} {rose} [by {pct}|more than reported].
- Stripping out one-off items, {gain} at {company} {fell} [by {pct}|more than reported].
= Stripping out one-off items, {gain} at {company} was {sum}, [the same as reported|unchanged on the year].

region
+ [Growth|Trading|Business] in {country} [accelerated|was better than hoped|offset weakness elsewhere], {company} said.
- [Growth|Trading|Business] in {country} [stalled|was worse than feared|dragged down the group], {company} said.
= [Sales|Operations] in {country} [account for {pct} of|make up {pct} of] the group, {company} said.

cash_position
+ {company} ended {month} [free of debt|with net cash of {sum}|with more cash than it has ever had].
- {company} ended {month} [with cash for only {few} weeks|nearly out of cash|deeper in debt than ever].
= {company} ended {month} with [{jobs} staff|{few} subsidiaries|{pct} of its shares held by employees].

inventory
+ {company} [worked off|sold through|cleared] its [excess|unsold] stock of {goods} [without discounts|sooner than
  planned].
- {company} is [stuck with|discounting|buried under] [excess|unsold] stock of {goods}.
= {company} [values|counts|stores] its stock of {goods} [at cost|in {city}|at the end of {month}].

ipo
+ {company} shares [jumped|soared] on their debut, closing {pct} above the offer price.
- {company} shares [slumped|sank] on their debut, closing {pct} below the offer price.
= {company} shares [will be listed|begin trading] in {city} on {day}, at an offer price of {eps_less}.

index
+ {company} will [join|be promoted to] the [blue-chip|main] index[| in {month}], [drawing in|bringing in] tracker funds.
- {company} will be [dropped from|relegated from|expelled from] the [blue-chip|main] index, [forcing|prompting] tracker
  funds to sell.
= The [blue-chip|main] index, of which {company} is a member, is reviewed [twice a year|every {month}].

short_seller
- A short seller [accused|bet {sum} against] {company} [of inflating its sales|of hiding debts], [calling it|describing
  it as] a house of cards.
+ A short seller [closed|gave up] its bet against {company} [at a loss|after the stock doubled].
= A short seller must [report|disclose] positions above {pct} in [{company}|any listed company] to {regulator}.

bankruptcy
- {company} [filed for bankruptcy protection|entered administration|was placed in receivership][| on {weekday}].
+ {company} [emerged from bankruptcy protection|left administration|avoided receivership][| with a third of the debt].
- {company} sought court protection from [creditors|its lenders], [listing debts of {sum}|having run out of cash].

partnership
+ {company} [joined forces|struck an alliance|agreed a joint venture] with {rival} that [opens the {country} market to
  it|should lift {gain}].
- {company}'s [alliance|joint venture] with {rival} [collapsed|broke up|ended in acrimony][|, leaving it without a
  partner in {country}].
= {company}'s [alliance|joint venture] with {rival} [is based in {city}|was formed in {last_year}|has {jobs} staff].

weather
+ [Mild weather|A hot summer|Good rains] [helped|favoured|lifted sales at] {company}, a maker of {goods}.
- [Storms|A cold spring|Drought] [hurt|disrupted|cut sales at] {company}, a maker of {goods}.

agm
= {company} will hold its annual general meeting in {city} on {day}[| at {clock}].
= The [annual|extraordinary] general meeting of {company} [convenes|is called for] {day} in {city}.

calendar
= {company} [will publish|is to publish|releases] its {quarter} [results|report] on {day} [at {clock}|before the market
  opens].

appointment
= {company} [appointed|named|has hired] {person} as [chief financial officer|head of its {sector} business|a member of
  the board][| from {day}].

succession
= {person} [succeeds|takes over from|replaces] {predecessor} as [chairman|chief executive|head of investor relations] of
  {company}[| on {day}].

board_size
= The board of {company} will [increase to|rise to] nine members from [six|seven], [subject to a vote|the notice said].
= The board of {company} will [decrease to|fall to] [six|seven] members from nine, [subject to a vote|the notice said].

flagging
= {fund}'s holding in {company} [rose above|fell below|reached] {threshold} of the [votes|share capital] on {day}.

share_count
= The number of {company} shares [rose|increased] to {many} [after|following] the conversion of [options|warrants].
= The number of {company} shares [fell|decreased] to {many} [after|following] the cancellation of treasury shares.

about_company
= {company} [makes|designs|distributes|services] {goods} and [employs {jobs} people|has offices in {city}|is listed in
  {city}].

about_sales
= {company}, [based|headquartered] in {city}, had [sales|revenue] of {sum} in {last_year}[| and {jobs} employees].

market_listed
= {company}'s shares [are quoted|are listed|trade] on the [main|small-cap|growth] market in {city}.

completion
= {company} [completed|closed] the [sale|purchase] of its {sector} [unit|arm][| to {rival}] [announced in {month}|on
  {weekday}].

deal_value
= The [parties|companies] did not disclose the [value|price|terms] of the [deal|contract|transaction] between {company}
  and {rival}.

no_comment
= {company} declined to comment on [a report|rumours] that it [was in talks with {rival}|might sell its {sector} arm].

segment_names
= {company} will report in {few} segments from {month}[|, {sector} and services among
  them].

head_office
= {company} [is moving|will move|has moved] its head office [to {city}|within {city}] [in {month}|over the summer].

capex_plan
= {company} [plans to invest|is to spend|has budgeted] {sum} [for|on] maintenance of its {plant} in {city} [this
  year|in {next_year}].

contract_terms
= The [agreement|contract] between {company} and {customer} runs [for {few} years|until {month} {next_year}].

currency_note
= {company} [translates|converts] foreign sales at the [average|closing] rate, which was {eps_less} in {month}.

method_note
= The {quarter} figures of {company} are [unaudited|prepared under international standards|rounded to the nearest
  million].

survey_note
= {few} of the {count} analysts who follow {company} [took part in the survey|updated their estimates in {month}].

index_close
= The [blue-chip|main|all-share] index closed at {points} [on {weekday}|in {city}], [with {count} shares up and as many
  down|little changed].

holiday
= The exchange in {city} will be closed on {weekday} for a public holiday[|, and trading in {company} resumes the day
  after].

auditor
= {company} [proposes to elect|has put forward|re-elected] {rival} as its auditor [for {next_year}|until the next
  meeting].

listing_rules
= The exchange [lowered|raised] the minimum [tick|lot] size for {company} shares [from {day}|as of {month}].

conference
= {person}, who [runs|heads] {company}'s {sector} business, will speak at [a conference|an industry fair] in {city} on
  {day}.

report_download
= A [copy|translation|recording] of {company}'s {quarter} [report|call] is available [on its website|on request].

remuneration
= The members of {company}'s board are paid {sum} in total, [as in {last_year}|half of it in shares].

name_change
= {company} [will change|is changing|proposed changing] its name to {rival} [in {month}|from {day}].

lease
= {company} has [leased|let|rented] a {plant} in {city} [from|to] {rival} for {few} years.

definition
= {company} defines [net debt|{gain}|its {bad_rate}] [in the notes|in its glossary] [as in {last_year}|for the reader].

split
= {company} [split its shares {few} for one|will split its shares {few} for one] on {day}.

faster_than
+ [Costs fell|Sales rose|Income grew|Debts shrank] faster than [expected|the board had hoped] at {company}.
- [Costs rose|Sales fell|Income shrank|Debts grew] faster than [expected|the board had feared] at {company}.
= [Costs|Wages|Fees] moved in step with [sales|turnover|prices] at {company}.

jaws
+ At {company}, [sales grew|income rose] [more than|faster than] [costs|expenses], and [what was left|the margin]
  {rose}.
- At {company}, [costs grew|expenses rose] [more than|faster than] [sales|income], and [what was left|the margin]
  {fell}.
= At {company}, [sales|income] and [costs|expenses] are reported [in {currency_name}|by quarter].

halved_doubled
+ [Complaints|Arrears|Accidents|Write-offs|Late deliveries|Vacancies] at {company} [halved|fell by a third|all but
  vanished].
- [Complaints|Arrears|Accidents|Write-offs|Late deliveries|Vacancies] at {company} [doubled|rose by a third|piled up].
+ [Orders|Bookings|Takings|Cash reserves|Visitor numbers|Fees] at {company} [doubled|rose by a third|multiplied].
- [Orders|Bookings|Takings|Cash reserves|Visitor numbers|Fees] at {company} [halved|fell by a third|dwindled].
= [Complaints|Arrears|Orders|Bookings|Vacancies] at {company} are counted [at the end of {month}|once a quarter].

second_derivative
+ The [slide|decline|slump] in [orders|bookings|prices] at {company} [slowed|bottomed out|came to an end].
- The [growth|rise|recovery] in [orders|bookings|prices] at {company} [slowed|petered out|came to an end].
- The [slide|decline|slump] in [orders|bookings|prices] at {company} [gathered pace|continued|spread to {country}].
+ The [growth|rise|recovery] in [orders|bookings|prices] at {company} [gathered pace|continued|spread to {country}].

streak
+ {company} [snapped|broke|ended] a run of {few} [losses|quarterly declines|falling months].
- {company} [snapped|broke|ended] a run of {few} [profits|quarterly gains|rising months].
+ {company} has [made money|grown|paid its way] for {few} quarters [in a row|running].
- {company} has [lost money|shrunk|burned cash] for {few} quarters [in a row|running].
= {company} has reported by [product|region] for {few} years [in a row|running].

likely
+ {company} is [unlikely|not expected] to [miss|fall short of|need to cut] its [targets|forecast].
- {company} is [unlikely|not expected] to [meet|reach|live up to] its [targets|forecast].
+ {company} is [likely|expected|set] to [meet|exceed|surpass] its [targets|forecast].
- {company} is [likely|expected|set] to [miss|fall short of|scrap] its [targets|forecast].
= {company} is [likely|expected|due] to [present its targets|publish a forecast] [in {month}|at its {city} meeting].

instead
+ {company} [made|reported] a profit [where|when] [analysts had expected|it had warned of] a loss.
- {company} [made|reported] a loss [where|when] [analysts had expected|it had promised] a profit.
= {company} [will report|is to report] its profit [in {currency_name}|under a new format] from {month}.

once_now
+ {company}, [not long ago|a year ago] [close to collapse|written off by analysts], is now [thriving|highly profitable].
- {company}, [not long ago|a year ago] [the envy of its rivals|a favourite of analysts], is now [struggling|on the
  brink].
= {company}, [until {last_year}|a year ago] [known as {rival}|a unit of {rival}], is now [listed in {city}|run from
  {city}].

break_even
+ {company} [expects to|will] [break even|turn a profit] [sooner|earlier] than [it had said|planned].
- {company} [does not expect to|will not] [break even|turn a profit] [until {next_year}|as soon as planned].
= {company} [reports|explains] its break-even point in [its {quarter} presentation|a note].

payers
+ Customers are paying {company} [sooner|more promptly], [freeing|releasing] {sum} of cash.
- Customers are paying {company} [later|more slowly], [tying up|locking away] {sum} of cash.
= Customers pay {company} within {count} days [of delivery|under its standard terms].

default_swap
+ The [cost of insuring|yield premium on] {company}'s bonds [fell|dropped|came down] [by {bps} basis points|sharply].
- The [cost of insuring|yield premium on] {company}'s bonds [rose|climbed|shot up] [by {bps} basis points|sharply].
= The [coupon|interest] on {company}'s bonds is [fixed|reset each {month}|paid through {bank}].

lender
+ {bank} [extended|renewed|increased] its [credit line|loan] to {company}[| on easier terms].
- {bank} [called in|refused to renew|froze] its [credit line|loan] to {company}[| and hired insolvency advisers].
= {bank} [acts as|serves as] [agent|trustee|adviser] for {company} [on the loan|in the transaction].

creditors
+ Creditors of {company} [agreed to wait|accepted its plan|gave it more time].
- Creditors of {company} [ran out of patience|rejected its plan|seized its {plant}].
= Creditors of {company} may [register claims|inspect the plan] until {day}.

suppliers
+ Suppliers [trust {company} again|are again shipping to {company} on credit], and its shelves are full.
- Suppliers [have lost faith in {company}|want cash up front from {company}], and its shelves are bare.
= Suppliers [of {company} sign its code of conduct|invoice {company} through an online portal].

mood
+ [Sentiment towards|Confidence in|The mood at] {company} has [brightened|recovered|lifted].
- [Sentiment towards|Confidence in|The mood at] {company} has [soured|collapsed|darkened].
= The [website|newsletter|head office] of {company} has a new [name|address|design].

boon_blow
+ In a [boost|fillip|lift] [for|to] {company}, {customer} [settled its bill early|paid what it owed|added {country} to
  its
  contract].
- In a [blow|setback|rebuff] [for|to] {company}, {customer} [withheld payment|demanded a refund|took {country} out of
  its
  contract].
= In a [note|letter] to {customer}, {company} [set out its terms|gave the date of delivery].

capacity
+ {company}'s {plant} in {city} is [working flat out|fully booked|adding night shifts] to keep up with orders.
- {company}'s {plant} in {city} is [working half days|standing idle|dropping night shifts] for want of orders.
= {company}'s {plant} in {city} [makes {jobs} {goods} a year|works in {few} shifts|was built by {rival}].

shoppers
+ [Shoppers|Buyers] are [queuing for|flocking to|paying extra for] {company}'s {goods}.
- [Shoppers|Buyers] are [turning away from|tiring of|boycotting] {company}'s {goods}.
= [Shoppers|Buyers] can [collect|register|return] {company}'s {goods} [online|at any shop].

shops
+ {company} will open {few} [shops|branches|depots] in {country}, [where business is booming|having outgrown the old
  ones].
- {company} will close {few} [shops|branches|depots] in {country}, [where business has dried up|to stem losses].
= {company} has {few} [shops|branches|depots] in {country}[|, all of them rented].

hackers
- [Hackers|Thieves] [stole|published|got hold of] the details of {jobs} clients of {company}.
+ [Hackers|Thieves] [failed to breach|were kept out of|gave up on] the systems of {company}, which protect {jobs}
  clients.
= {company} keeps the details of its clients in [a data centre in {city}|{country}].

safety_test
+ {company}'s {goods} [passed|came top in|sailed through] [safety|reliability] tests[| by {regulator}].
- {company}'s {goods} [flunked|came last in|were withdrawn after] [safety|reliability] tests[| by {regulator}].
= {company}'s {goods} [undergo|are sent for] [safety|reliability] tests [in {city}|every {month}].

drilling
+ {company}'s drilling off {country} [struck oil|found more gas than forecast|hit a rich seam].
- {company}'s drilling off {country} [came up dry|found nothing of value|was abandoned].
= {company}'s drilling off {country} [starts in {month}|is done by {rival}].

duties
+ {country} [scrapped|lifted|suspended] [duties|import curbs] on {goods} made by {company}.
- {country} [imposed|doubled|brought back] [duties|import curbs] on {goods} made by {company}.
= {country} [classifies|taxes] {goods} made by {company} as [machinery|finished goods], [as before|like any other].

price_war
+ The price war in {goods} that had [eroded|eaten into] {company}'s margin is [over|dying down].
- A price war in {goods} is [eroding|eating into] {company}'s margin.
= A price list for {company}'s {goods} is [on its website|printed each {month}].

hedges
+ {company}'s bets on [currencies|the oil price] [paid off|earned it {sum}].
- {company}'s bets on [currencies|the oil price] [backfired|cost it {sum}].
= {company}'s policy is to [hedge|fix] [currencies|the oil price] for {few} months ahead.

overhaul
+ {company}'s [overhaul|restructuring|turnaround plan] is [bearing fruit|ahead of schedule|saving more than promised].
- {company}'s [overhaul|restructuring|turnaround plan] is [going nowhere|behind schedule|costing more than promised].
= {company}'s [overhaul|restructuring|turnaround plan] is [set out in a booklet|described on its website].

pensions
+ The pension trustees [waived|no longer need] payments of {sum} from {company}.
- The pension trustees [demanded|will force] [extra|further] payments of {sum} [from|out of] {company}.
= The pension trustees of {company} [meet in {month}|appointed {rival} as actuary].

filing_deadline
+ {company} filed its overdue accounts, [averting|removing the threat of] a delisting.
- {company} missed the deadline for its accounts and [risks|faces] a delisting.
= {company} filed its accounts on {day}, [the usual date|within the deadline].

disposal
+ {company} [got rid of|found a buyer for|sold at a good price] its loss-making {sector} arm.
- {company} is [stuck with|unable to sell|pouring more money into] its loss-making {sector} arm.
= {company} [renamed|will report separately on|has long owned] its {sector} arm.

feud
+ {company} [made peace with|won the backing of|settled its quarrel with] its largest shareholder.
- {company} is [at war with|under attack from|being sued by] its largest shareholder.
= {company} [gave the name of|sent the accounts to] its largest shareholder, {fund}.

outage
+ {company} [restored service|fixed an outage] within [minutes|the hour], and [no|hardly any] client [left|claimed
  damages].
- {company} [suffered an outage|left clients without service] for {few} days, and many [left|claimed damages].
= {company} will [pause service|update its systems] for {few} hours on {weekday}, [as it does every {month}|as
  notified].

wage_deal
+ {company} [agreed|settled] pay rises well below [inflation|what it had budgeted].
- {company} [had to agree|was forced into] pay rises well above [inflation|what it had budgeted].
= {company} and its unions [begin|resume] yearly pay talks in {month}.

without
+ {company} [got|came] through [the downturn|the crisis|the strike] without [a loss|lay-offs|losing a client].
- {company} [went|ended] another quarter without [a profit|an order|a new client].
= {company} will hold its {month} meeting [online|in {city}] without [guests|an interpreter|a break].

bond_price
+ {company}'s bonds [rallied|climbed] to their [highest|best] since {month} on [hopes of repayment|its recovery].
- {company}'s bonds [sank|crumbled] to {count} cents on the dollar on [fears of default|its troubles].
= {company}'s bonds can be [bought|sold] in lots of {jobs}.

headline_contract
+ {company} [wins|lands|bags] {sum} {country} [contract|order]
- {company} [loses|misses out on|drops out of race for] {sum} {country} [contract|order]
= {company} [details terms of|lists suppliers for|starts work on] {country} [contract|order] signed in {month}

headline_site
+ {company} to [open|expand] {city} {plant}, [creating {jobs} jobs|buoyed by demand]
- {company} to [shut|shrink] {city} {plant}, [axing {jobs} jobs|battered by slump]
= {company} to [show|rename] {city} {plant} [on {day}|in {month}]

headline_levels
+ {company} [shares|stock] at [record high|{few}-year high] [after|on] [results|trading update]
- {company} [shares|stock] at [record low|{few}-year low] [after|on] [results|trading update]
= {company} [shares|stock] to trade in {city} [after|from] {day}

headline_names
= {company} [names|picks|taps] {person} as [chairman|finance chief|head of {sector}]

headline_date
= {company} to [report {quarter} results|hold capital markets day|host investor call] [on|in {city} on] {day}

record_date
= The [record date|payment date|ex-dividend date] for {company}'s dividend is {day}.

year_end
= The financial year of {company} [ends on|begins on] {day}[|, unlike that of {rival}].

shareholders
= {company} had {many} [registered shareholders|shares outstanding] at the end of {month}.

share_classes
= Each [ordinary|preference] share in {company} carries {few} votes[| at general meetings].

questions
= Questions about the [report|release|offer] can be put to {person} at {company}[| from {clock}].

offer_period
= The subscription period for the [offer|bond|issue] of {company} [starts|ends] on {day}[| at {clock}].

product_share
= {goods} accounted for {pct} of {company}'s [sales|output] in {last_year}[|, services for the rest].

it_vendor
= {company} [uses|rents|licenses] [software|lorries|warehouses] from {rival}[| in {country}].

unit_head
= The [new|renamed] unit of {company} will be [led|headed] by {person}[|, who joined in {last_year}|, at present in
  {city}].

market_maker
= {company} [signed|renewed] a market-making agreement with {broker} for its shares[| in {city}].

options
= {company} granted {jobs} options to [managers|staff] at an exercise price of {eps_less}.

nomination
= The nomination [board|committee] of {company} [consists of {few} members|meets in {city} on {day}|is chaired by
  {person}].

mou
= {company} and {rival} signed a non-binding [letter|memorandum] on [standards for {goods}|sharing a site in {city}].

fleet
= The fleet of {company} consists of {count} [vessels|lorries|aircraft], {few} of them [leased|rented].

notice
= This [release|notice] by {company} [is not an offer of securities|was translated from the original|replaces that of
  {day}].

range
= The [price|rate] of {goods} [ranged|varied] between {eps_less} and {eps_more} in {month}, [said|according to]
  {broker}.

index_weights
= {company} [makes up|accounts for] {pct} of the {sector} index [by weight|compiled by {broker}].

minutes
= The minutes of {company}'s meeting of {day} [are available|have been published|can be ordered] in {few} languages.

clause_said
+ {company} [said|announced|reported] that {good}.
- {company} [said|announced|reported] that {bad}.
= {company} [said|announced|reported] that {plain}.

clause_told
+ {company} told [investors|analysts|reporters] in {city} that {good}.
- {company} told [investors|analysts|reporters] in {city} that {bad}.
= {company} told [investors|analysts|reporters] in {city} that {plain}.

clause_maker
+ {company}, a maker of {goods}, [disclosed|let it be known] that {good} {period}.
- {company}, a maker of {goods}, [disclosed|let it be known] that {bad} {period}.
= {company}, a maker of {goods}, [disclosed|let it be known] that {plain} {period}.

clause_filing
+ In a filing with {regulator}, {company} [stated|wrote] that {good}.
- In a filing with {regulator}, {company} [stated|wrote] that {bad}.
= In a filing with {regulator}, {company} [stated|wrote] that {plain}.

clause_person
+ {person}, [head|chairman] of {company}, [explained|told analysts] that {good}.
- {person}, [head|chairman] of {company}, [explained|told analysts] that {bad}.
= {person}, [head|chairman] of {company}, [explained|told analysts] that {plain}.

clause_asked
+ Asked about its {sector} arm, {company} [answered|replied] that {good}.
- Asked about its {sector} arm, {company} [answered|replied] that {bad}.
= Asked about its {sector} arm, {company} [answered|replied] that {plain}.

clause_learned
+ The board of {company} [met on {weekday} and |]learned that {good}.
- The board of {company} [met on {weekday} and |]learned that {bad}.
= The board of {company} [met on {weekday} and |]learned that {plain}.

clause_holder
+ {fund}, which holds {pct} of {company}, [noted|observed] that {good}.
- {fund}, which holds {pct} of {company}, [noted|observed] that {bad}.
= {fund}, which holds {pct} of {company}, [noted|observed] that {plain}.

clause_report
+ The {quarter} report of {company} [runs to {count} pages and |]says that {good}.
- The {quarter} report of {company} [runs to {count} pages and |]says that {bad}.
= The {quarter} report of {company} [runs to {count} pages and |]says that {plain}.

clause_paper
+ A newspaper in {city} [wrote|reported] of {company} that {good}.
- A newspaper in {city} [wrote|reported] of {company} that {bad}.
= A newspaper in {city} [wrote|reported] of {company} that {plain}.

clause_when
+ [{month}|Last year] was when {good}, {company} [said|recalled].
- [{month}|Last year] was when {bad}, {company} [said|recalled].
= [{month}|Last year] was when {plain}, {company} [said|recalled].

clause_statement
+ {good_turn}, [according to|as stated in] a release that {company} put out on {weekday}.
- {bad_turn}, [according to|as stated in] a release that {company} put out on {weekday}.
= {no_turn}, [according to|as stated in] a release that {company} put out on {weekday}.

turn_at
+ {good_turn} at {company} {period}.
- {bad_turn} at {company} {period}.
= {no_turn} at {company} {period}.

turn_broker
+ According to {broker}, {good_turn} at {company}[| {period}].
- According to {broker}, {bad_turn} at {company}[| {period}].
= According to {broker}, {no_turn} at {company}[| {period}].

turn_figures
+ [Preliminary|Unaudited|Detailed] figures from {company} show that {good_turn}.
- [Preliminary|Unaudited|Detailed] figures from {company} show that {bad_turn}.
= [Preliminary|Unaudited|Detailed] figures from {company} show that {no_turn}.

turn_quarter
+ It was a [quarter|half-year|month] in which {good_turn} at {company}.
- It was a [quarter|half-year|month] in which {bad_turn} at {company}.
= It was a [quarter|half-year|month] in which {no_turn} at {company}.

turn_country
+ In {country}, {good_turn}, {company} [noted|said].
- In {country}, {bad_turn}, {company} [noted|said].
= In {country}, {no_turn}, {company} [noted|said].

turn_arm
+ At the {sector} arm of {company}, {good_turn}[| {period}].
- At the {sector} arm of {company}, {bad_turn}[| {period}].
= At the {sector} arm of {company}, {no_turn}[| {period}].

turn_headline
+ {company} [update|{month} report|interim report]: {good_turn}
- {company} [update|{month} report|interim report]: {bad_turn}
= {company} [update|{month} report|interim report]: {no_turn}

turn_while
+ While {rival} has yet to report, {good_turn} at {company}.
- While {rival} has yet to report, {bad_turn} at {company}.
= While {rival} has yet to report, {no_turn} at {company}.

turn_found
+ An analyst who went through {company}'s accounts found that {good_turn}.
- An analyst who went through {company}'s accounts found that {bad_turn}.
= An analyst who went through {company}'s accounts found that {no_turn}.

event_bare
+ {company} {good_event}[| {period}| on {weekday}].
- {company} {bad_event}[| {period}| on {weekday}].
= {company} {plain_event}[| {period}| on {weekday}].

event_month
+ [In {month}|Last {weekday}|Earlier this year], {company} {good_event}.
- [In {month}|Last {weekday}|Earlier this year], {company} {bad_event}.
= [In {month}|Last {weekday}|Earlier this year], {company} {plain_event}.

event_maker
+ {company}, [which makes {goods}|a supplier to {customer}], {good_event}.
- {company}, [which makes {goods}|a supplier to {customer}], {bad_event}.
= {company}, [which makes {goods}|a supplier to {customer}], {plain_event}.

event_broker
+ {broker} [notes|writes] that {company} {good_event}.
- {broker} [notes|writes] that {company} {bad_event}.
= {broker} [notes|writes] that {company} {plain_event}.

event_headline
+ {city}, {day}: {company} {good_event}
- {city}, {day}: {company} {bad_event}
= {city}, {day}: {company} {plain_event}
"""

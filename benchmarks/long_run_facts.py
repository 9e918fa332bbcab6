"""Sixty facts of a made-up world, each with the question that asks for it later: 20 in the same words, 20 paraphrased, 20 only described.

A described question shares no content word with its fact; `long_run.py` checks that. Each answer is a word that nothing else contains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Wording = Literal["same", "paraphrased", "described"]


@dataclass(frozen=True)
class Fact:
    wording: Wording
    text: str
    answer: str
    question: str


_SAME = """
The keel of the ferry Ondrava was laid at the Brevik yard, and its length is 41.73 metres from stem to stern. | 41.73 | What is the length of the keel of the ferry Ondrava?
The Tellmark observatory keeps its spare mirror in a shed whose combination the keeper Ludo Marsh set to 7719-K. | 7719-K | What combination did the keeper Ludo Marsh set for the shed at the Tellmark observatory?
Sister Amalie Voss recorded the yield of the convent orchard at Pellin as 3,462 baskets in the wet year. | 3,462 | What yield of the convent orchard at Pellin did Sister Amalie Voss record?
The Karsund cable was spliced at kilometre 88.61 after the trawler Gudny dragged its anchor over it. | 88.61 | At which kilometre was the Karsund cable spliced after the trawler Gudny dragged its anchor?
The tariff commission of Ostrel fixed the duty on lamp oil at 19.35 crowns a barrel. | 19.35 | What duty on lamp oil did the tariff commission of Ostrel fix?
The bell of Saint Corvin weighs 2,871 kilograms and was cast by the founder Ebba Quist. | 2,871 | How many kilograms does the bell of Saint Corvin cast by the founder Ebba Quist weigh?
The Marrow tunnel has a drainage gradient of 0.417 percent towards its northern portal. | 0.417 | What drainage gradient does the Marrow tunnel have towards its northern portal?
The reservoir at Hollin Ghyll holds 5.926 million cubic metres when its upper sluice is shut. | 5.926 | How many million cubic metres does the reservoir at Hollin Ghyll hold when its upper sluice is shut?
The typesetter Jan Orlow numbered the lost plate of the Virelli atlas as plate CXLVII-b. | CXLVII-b | Which number did the typesetter Jan Orlow give the lost plate of the Virelli atlas?
The seed vault at Nordhelm stores its barley at minus 23.8 degrees, two below the rule. | 23.8 | At how many degrees does the seed vault at Nordhelm store its barley?
The weather mast on Skarv island was rated for gusts of 287 kilometres an hour. | 287 | Which gusts was the weather mast on Skarv island rated for?
The copper roof of the Dalgarn exchange was replaced by the firm Pettersen-Lowe for 614,900 crowns. | 614,900 | For how many crowns did the firm Pettersen-Lowe replace the copper roof of the Dalgarn exchange?
The violin named Grey Heron carries the inventory mark QV-5520 inside its lower rib. | QV-5520 | Which inventory mark does the violin named Grey Heron carry inside its lower rib?
The night train Aurelian passes the Tessin junction at 03:47 without a stop. | 03:47 | At what time does the night train Aurelian pass the Tessin junction?
The salt works of Lorne produced 12,483 tonnes in the season of the dry wind. | 12,483 | How many tonnes did the salt works of Lorne produce in the season of the dry wind?
The chess master Ilka Brandt sealed the move Rd7-x4 at the adjournment in Vasa. | Rd7-x4 | Which move did the chess master Ilka Brandt seal at the adjournment in Vasa?
The glacier Morsa retreated by 68.2 metres between the two surveys of Tomas Ekeby. | 68.2 | By how many metres did the glacier Morsa retreat between the surveys of Tomas Ekeby?
The archive of the Finch company is deposited under the shelfmark HW/93-Delta. | HW/93-Delta | Under which shelfmark is the archive of the Finch company deposited?
The turbine hall at Ravensgill vibrates at 16.44 hertz under full load. | 16.44 | At how many hertz does the turbine hall at Ravensgill vibrate under full load?
The lighthouse at Cape Undine shows a sector light with the character Fl(3)WRG.15s. | Fl(3)WRG.15s | Which character has the sector light of the lighthouse at Cape Undine?
"""
_PARAPHRASED = """
The Halden viaduct was closed to lorries after engineers found a crack of 9.06 millimetres in its third pier. | 9.06 | How wide was the fracture that inspectors discovered in a support of the Halden viaduct?
Doctor Mirela Stanek treated the miners of Korvat with a tincture she called Balm 31-R. | Balm 31-R | What was the name of the remedy that Mirela Stanek gave to the workers in the Korvat pits?
The Pelargo brewery ships its dark ale in casks that hold 163 litres each. | 163 litres | What volume does one barrel of the Pelargo brewery have?
The frigate Santa Irene went down with 217 chests of silver off the reef of Amber Point. | 217 chests | How much treasure was aboard the Santa Irene when she sank?
The Zubrin prize for bridge design carries an award of 48,250 florins. | 48,250 | How much money does the winner of the Zubrin prize get?
The parish of Ulverdal charged travellers 6.85 shillings to cross its toll bridge with a cart. | 6.85 | What did it cost to take a wagon over the bridge at Ulverdal?
The botanist Piet Hanrahan named the blue moss of the Osk valley Bryum tessarium. | Bryum tessarium | What did Piet Hanrahan call the plant that he discovered in the Osk valley?
The Mirador radio telescope was tuned to 1,427.5 megahertz when the pulses arrived. | 1,427.5 | On what frequency was the Mirador dish listening when it caught the signal?
The widow Sabina Torell sold the Greyfriars mill for 8,175 marks to her nephew. | 8,175 | What price did Sabina Torell get when she parted with the Greyfriars mill?
The Ketterin clock loses 13.9 seconds a week because its pendulum rod is brass. | 13.9 seconds | How inaccurate is the timepiece at Ketterin over seven days?
The expedition of Runar Falk buried its spare fuel beneath the cairn marked J-446. | J-446 | Where did Runar Falk's party hide the petrol it kept in reserve?
The Belmonte quarry delivered 1,958 blocks of red granite for the harbour wall. | 1,958 | How many stones did the Belmonte pit supply to build the mole?
The Solveig satellite circles the earth every 97.36 minutes in a polar orbit. | 97.36 | How long does one revolution of Solveig around our planet take?
The weaver's guild of Anterre admitted its first woman, Celeste Raimbaud-Ney, against four votes. | Raimbaud-Ney | Who was the earliest female member of the guild in Anterre?
The Ostrava-Lind process leaves a sulphur content of 0.083 percent in the finished steel. | 0.083 | How much brimstone remains in metal made by the Ostrava-Lind method?
The orchestra of Brunholm tunes to an A of 438.7 hertz for its old organ. | 438.7 | What concert pitch do the musicians of Brunholm use?
The dyke at Westerlee was raised to 7.62 metres above the datum after the flood. | 7.62 | How high did they build the sea defence at Westerlee following the inundation?
The lawyer Oskar Niemand lodged the Tarlow appeal under docket 22-B-7741. | 22-B-7741 | What is the file number of the legal challenge in the Tarlow case?
The Karelia moose herd was counted at 3,914 animals from the air in March. | 3,914 | How large was the population of Karelia elk in the spring census?
The painter Inge Solberg mixed her famous green from verdigris and a resin she labelled Lac 58. | Lac 58 | Which ingredient besides copper rust did Inge Solberg use for her well-known colour?
"""
_DESCRIBED = """
The dentist fitted the old king with a set of false teeth carved from walrus tusk, catalogued as item DN-204. | DN-204 | artificial denture of a monarch, made of ivory from a marine mammal
Beekeepers of the valley lost 71.4 percent of their hives to a mite in a single winter. | 71.4 percent | how bad was the die-off of honey-making insect colonies caused by a parasite?
The surgeon removed the bullet from the general's shoulder in 37 minutes without ether. | 37 minutes | duration of an operation on a wounded military commander with no anaesthetic
The bakery's sourdough starter has been fed every day since it was begun and is registered as culture LV-88. | LV-88 | identifier of the living yeast used to make bread rise
The astronaut drank 2.31 litres of recycled water on each day aboard the station. | 2.31 | how much purified urine did a crew member consume while living in space?
The locksmith opened the museum's jammed safe by drilling at a point 54 millimetres left of the dial. | 54 millimetres | where was the hole bored to break into a stuck strongbox at a gallery?
The volcano threw ash to a height of 18,350 metres and grounded every aircraft for a week. | 18,350 | how far up did the eruption's plume reach so that flights were cancelled?
The goalkeeper saved the decisive penalty with her left boot in minute 118 of the final. | minute 118 | when did a football team's last defender stop the spot kick in the championship match?
The translator rendered the sacred poem into verse for a fee of 1,340 guineas. | 1,340 | payment to the linguist who put a religious work into another language
The vaccine against the fever must be stored below 4.7 degrees or it spoils within hours. | 4.7 | refrigeration limit for the immunisation jab before it goes bad
The submarine's crew surfaced through ice that was 2.94 metres thick. | 2.94 | how solid was the frozen sea that the underwater vessel broke to come up?
The perfumer extracted one flask of oil from 5,280 roses gathered at dawn. | 5,280 | number of flowers needed to make a bottle of fragrance
The prisoner dug his escape passage with a spoon over 413 nights. | 413 nights | how long did the jail inmate take to tunnel his way out with cutlery?
The cheese is ripened in a cave for 29 months and turned by hand each Friday. | 29 months | aging time of a dairy product underground
The judge fined the factory 92,600 crowns for pouring dye into the river. | 92,600 | penalty imposed by a court on an industrial plant that polluted a stream
The tailor cut the bride's gown from 14.6 yards of parachute silk. | 14.6 yards | how much fabric went into the wedding dress?
The shepherd's dog found the lost child under the snow after 19.5 hours. | 19.5 hours | time until a canine discovered a missing youngster buried in an avalanche
The pharaoh's tomb was sealed with a plaster that contained 6.18 percent honey. | 6.18 percent | sweet substance in the mortar closing an ancient Egyptian ruler's burial chamber
The electric bus recharges its battery in 11.3 minutes at the terminus. | 11.3 minutes | how quickly is a zero-emission public transport vehicle ready to drive again after plugging in?
The spy hid the microfilm inside a hollow chess bishop stamped with the letters VKT. | VKT | secret agent concealed tiny photographs in a game piece; which marking did it bear?
"""


def _facts(wording: Wording, lines: str) -> list[Fact]:
    rows = [[part.strip() for part in line.split(" | ")] for line in lines.strip().splitlines()]
    return [Fact(wording, text, answer, question) for text, answer, question in rows]


FACTS: list[Fact] = [*_facts("same", _SAME), *_facts("paraphrased", _PARAPHRASED), *_facts("described", _DESCRIBED)]

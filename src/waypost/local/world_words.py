"""The words of the synthetic travel world: real cities by region, and themes with what one does, sees and needs
there."""

# ruff: noqa: E501  (one row of words to a line is easier to check than a wrapped one)

from __future__ import annotations

from typing import Final, NamedTuple

REGIONS: Final[dict[str, tuple[str, ...]]] = {
    "Iberia": ("Lisbon", "Porto", "Seville", "Málaga", "Barcelona", "Valencia", "Granada", "Bilbao", "Faro", "Coimbra"),
    "Italy": ("Rome", "Naples", "Florence", "Venice", "Palermo", "Bologna", "Turin", "Lecce", "Verona", "Cagliari"),
    "the Alps": ("Zermatt", "Innsbruck", "Chamonix", "Lucerne", "Bled", "Bolzano", "Annecy", "Davos", "Grenoble", "Bern"),
    "the Nordics": ("Oslo", "Bergen", "Tromsø", "Stockholm", "Gothenburg", "Helsinki", "Turku", "Aarhus", "Reykjavík", "Malmö"),
    "the British Isles": ("London", "Edinburgh", "Dublin", "Galway", "Cardiff", "Bath", "York", "Inverness", "Belfast", "Cork"),
    "the Balkans": ("Dubrovnik", "Split", "Kotor", "Sarajevo", "Mostar", "Ohrid", "Tirana", "Belgrade", "Sofia", "Plovdiv"),
    "Central Europe": ("Vienna", "Prague", "Kraków", "Budapest", "Gdańsk", "Leipzig", "Brno", "Bratislava", "Wrocław", "Graz"),
    "Greece and Turkey": ("Athens", "Thessaloniki", "Naxos", "Chania", "Rhodes", "Istanbul", "Izmir", "Göreme", "Antalya", "Kaş"),
    "North Africa": ("Marrakesh", "Fez", "Essaouira", "Tunis", "Cairo", "Luxor", "Siwa", "Chefchaouen", "Tangier", "Aswan"),
    "East Africa": ("Nairobi", "Mombasa", "Zanzibar", "Arusha", "Kigali", "Kampala", "Lamu", "Lalibela", "Jinja", "Moshi"),
    "the Gulf and the Levant": ("Muscat", "Nizwa", "Amman", "Petra", "Aqaba", "Beirut", "Doha", "Dubai", "Salalah", "Byblos"),
    "South Asia": ("Delhi", "Jaipur", "Varanasi", "Kochi", "Mumbai", "Kathmandu", "Pokhara", "Colombo", "Kandy", "Thimphu"),
    "Southeast Asia": ("Bangkok", "Chiang Mai", "Hanoi", "Hội An", "Luang Prabang", "Siem Reap", "Penang", "Ubud", "Cebu", "Bagan"),
    "Japan": ("Tokyo", "Kyoto", "Osaka", "Kanazawa", "Sapporo", "Hiroshima", "Nara", "Takayama", "Fukuoka", "Naha"),
    "Korea and China": ("Seoul", "Busan", "Jeju", "Beijing", "Shanghai", "Chengdu", "Xi'an", "Guilin", "Lijiang", "Hangzhou"),
    "Oceania": ("Sydney", "Hobart", "Cairns", "Melbourne", "Perth", "Auckland", "Queenstown", "Rotorua", "Nelson", "Suva"),
    "North America": ("Vancouver", "Banff", "Montréal", "Seattle", "Portland", "Moab", "New Orleans", "Boston", "Chicago", "Austin"),
    "Mexico and Central America": ("Oaxaca", "Mérida", "Puebla", "Antigua", "Granada de Nicaragua", "León", "Bocas", "Boquete", "Tulum", "Utila"),
    "the Andes": ("Cusco", "Arequipa", "La Paz", "Sucre", "Quito", "Cuenca", "Medellín", "Cartagena", "Salta", "Huaraz"),
    "Brazil and the South": ("Salvador", "Paraty", "São Paulo", "Recife", "Montevideo", "Buenos Aires", "Mendoza", "Ushuaia", "Bariloche", "Valparaíso"),
}  # fmt: skip

# A place beyond the list is a part of a city on it.
PARTS: Final = (
    "", " old town", " riverside", " hills", " market quarter", " harbour", " north side", " gardens", " station quarter",
    " countryside",
)  # fmt: skip


class Theme(NamedTuple):
    name: str
    doing: str
    sights: tuple[str, str, str]
    need: str


THEME_GROUPS: Final[tuple[tuple[Theme, ...], ...]] = (
    (
        Theme("hiking", "hiking", ("ridge trails", "waymarked paths", "mountain huts"), "boots that are already broken in"),
        Theme("climbing", "climbing", ("bolted routes", "limestone crags", "via ferratas"), "a rope and a partner you trust"),
        Theme("skiing", "skiing", ("long pistes", "powder bowls", "small lifts"), "layers and a lift pass bought early"),
        Theme("cycling", "cycling", ("gravel tracks", "quiet lanes", "steep passes"), "spare tubes and low gears"),
        Theme("camping", "camping", ("forest clearings", "lakeside pitches", "dark skies"), "a tent that stands up to wind"),
        Theme("wildlife", "watching wildlife", ("hides", "bird colonies", "herds at dawn"), "binoculars and patience"),
    ),
    (
        Theme("beaches", "lying on the beach", ("sandy coves", "empty bays", "warm shallows"), "shade and a lot of water"),
        Theme("diving", "diving", ("coral walls", "wrecks", "turtles"), "a certificate and a recent check dive"),
        Theme("surfing", "surfing", ("reef breaks", "gentle beach breaks", "surf schools"), "a board that suits the swell"),
        Theme("sailing", "sailing", ("sheltered anchorages", "island hops", "steady breezes"), "a skipper's licence or a skipper"),
        Theme("kayaking", "kayaking", ("sea caves", "slow rivers", "mangroves"), "a dry bag and a tide table"),
        Theme("islands", "island hopping", ("small ferries", "fishing villages", "lighthouses"), "a ferry timetable that is current"),
    ),
    (
        Theme("street food", "eating in the street", ("night stalls", "dumpling carts", "grills"), "small change and an empty stomach"),
        Theme("fine dining", "dining well", ("tasting menus", "chef's counters", "wine pairings"), "a table booked weeks ahead"),
        Theme("coffee", "drinking coffee", ("roasteries", "old cafés", "espresso bars"), "a free morning and a good book"),
        Theme("wine", "tasting wine", ("cellars", "family vineyards", "harvest feasts"), "somebody else to drive"),
        Theme("cooking classes", "learning to cook", ("market tours", "clay ovens", "family recipes"), "an apron and curiosity"),
        Theme("markets", "wandering through markets", ("spice stalls", "flower halls", "fish auctions"), "a bag and an early start"),
    ),
    (
        Theme("museums", "visiting museums", ("painting galleries", "quiet collections", "late openings"), "a day ticket"),
        Theme("architecture", "looking at buildings", ("art nouveau houses", "brutalist blocks", "arcades"), "a map of courtyards"),
        Theme("temples", "visiting temples", ("shrines", "incense halls", "stone gates"), "covered shoulders and socks"),
        Theme("ruins", "exploring ruins", ("amphitheatres", "mosaics", "fallen columns"), "a hat and a good guidebook"),
        Theme("history", "reading a city's history", ("city walls", "archives", "war memorials"), "a walking tour on day one"),
        Theme("photography", "taking photographs", ("viewpoints", "blue-hour skylines", "reflections"), "a tripod and spare batteries"),
    ),
    (
        Theme("live music", "listening to live music", ("jazz cellars", "open-air stages", "folk bars"), "tickets and earplugs"),
        Theme("nightlife", "going out at night", ("rooftop bars", "clubs", "late trams"), "a plan for the way home"),
        Theme("festivals", "going to festivals", ("parades", "lantern nights", "street theatre"), "a room booked long before"),
        Theme("theatre", "going to the theatre", ("opera houses", "puppet stages", "standing places"), "a dress code and small money"),
        Theme("football", "watching football", ("old stadiums", "derby days", "supporters' pubs"), "a members' ticket"),
        Theme("crafts", "buying crafts", ("weavers", "potteries", "wood workshops"), "room in the suitcase"),
    ),
    (
        Theme("trains", "travelling by train", ("night trains", "mountain railways", "grand stations"), "a rail pass and seat reservations"),
        Theme("ferries", "taking ferries", ("car decks", "overnight cabins", "harbour queues"), "a booking for the car"),
        Theme("flights", "flying", ("tight connections", "small airports", "lounges"), "a fare that allows changes"),
        Theme("road trips", "driving", ("coastal roads", "empty highways", "roadside motels"), "an international permit"),
        Theme("buses", "taking the bus", ("overnight coaches", "shared minibuses", "mountain stops"), "a seat near the front"),
        Theme("public transport", "getting around", ("metro cards", "tram lines", "night buses"), "a weekly ticket"),
    ),
    (
        Theme("families", "travelling with children", ("playgrounds", "easy walks", "farm stays"), "snacks and slow plans"),
        Theme("solo travel", "travelling alone", ("hostels", "free walking tours", "shared tables"), "a working phone and open ears"),
        Theme("honeymoons", "honeymooning", ("quiet villas", "sunset terraces", "small spas"), "no alarm clock"),
        Theme("seniors", "travelling at seventy", ("lifts", "benches with a view", "river cruises"), "insurance that really covers"),
        Theme("accessibility", "travelling by wheelchair", ("step-free routes", "ramps", "low-floor trams"), "hotels that answer letters"),
        Theme("dogs", "travelling with a dog", ("dog beaches", "parks", "patient landlords"), "a pet passport"),
    ),
    (
        Theme("budget", "travelling cheaply", ("dormitories", "free museums", "lunch menus"), "a daily limit and a kettle"),
        Theme("luxury", "travelling in comfort", ("grand hotels", "private drivers", "suites"), "a generous budget"),
        Theme("visas", "getting the visa", ("consulates", "border posts", "online forms"), "copies of every paper"),
        Theme("insurance", "getting insured", ("small print", "claims", "assistance lines"), "a policy you have read"),
        Theme("money", "paying", ("cash machines", "exchange offices", "card fees"), "two cards from two banks"),
        Theme("packing", "packing", ("cabin bags", "laundries", "compression cubes"), "half of what you first laid out"),
    ),
    (
        Theme("spas", "bathing", ("thermal baths", "saunas", "hot springs"), "a towel and sandals"),
        Theme("yoga", "practising yoga", ("shalas", "retreats", "morning classes"), "a mat of your own"),
        Theme("pilgrimage", "walking a pilgrimage", ("chapels", "hostels for walkers", "stamped passes"), "blister plasters"),
        Theme("volunteering", "volunteering", ("schools", "farms", "animal shelters"), "time, and a checked organisation"),
        Theme("language schools", "learning the language", ("small classes", "host families", "exchanges"), "four weeks at least"),
        Theme("remote work", "working remotely", ("shared offices", "fast cafés", "monthly rents"), "a second connection"),
    ),
)  # fmt: skip

THEMES: Final = tuple(theme for group in THEME_GROUPS for theme in group)
CITIES: Final = tuple((city, region) for region, cities in REGIONS.items() for city in cities)
MAX_PLACES: Final = len(CITIES) * len(PARTS)


def place_name(place: int) -> str:
    """Cities first, interleaved by region so that a small world has them all; then their parts."""
    city, _ = CITIES[_city_of(place)]
    return city + PARTS[place // len(CITIES)]


def region_of(place: int) -> int:
    """The position of the place's region in REGIONS."""
    return place % len(REGIONS)


def _city_of(place: int) -> int:
    cities_in_region = len(CITIES) // len(REGIONS)
    within = place % len(CITIES)
    return within % len(REGIONS) * cities_in_region + within // len(REGIONS)

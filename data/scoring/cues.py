"""Lexical cues of relations, frozen: what the slices of ``data.scoring.slices`` are made by.

Criterion: a cue names the relation. It is a verb, noun or adjective that says it ("caused", "capital of"), or a
preposition whose own meaning is the relation ("into" for a destination, "from" for an origin, "inside" for a container,
"about" for a topic). Words that merely fit are no cues: "of", "in", "with", "by", "to", "at", "for", "and", "'s",
articles and forms of be and have alone.

The lists were written from the relations' definitions and, for SemEval-2010, from its train sentences; no dev or test
sentence was read for them. They changed in nothing after the audit of docs/re_implicit_audit.md: an error found there
stays, is counted there, and bounds what the slices can say.

Each list is separated by semicolons. A cue is one or more words that follow each other; a star stands for any ending.
"""

_LISTS = {
    # SemEval-2010 Task 8, by relation; both directions share a list.
    "Cause-Effect": """caus*; trigger*; result* in; result* from; result* of; lead* to; led to; generate*;
        generating; induc*; provok*; produc*; create*; creating; due to; because of; stem* from; aris* from; aros*
        from; come* from; came from; emit*; radiat*; elicit*; evok*; spark*; inflict*; attribut* to; contribut*
        to; responsible for; owing to; source of; sources of; effect of; effects of; gives rise; give rise; gave
        rise; bring* about; brought about""",
    "Component-Whole": """part of; parts of; part; parts; compris*; contain*; includ*; consist* of; compos* of;
        component*; made up of; made of; constructed from; assembled from; divided into; built into; equipped
        with; fitted with; features; featured; attached to; section of; segment of; element of; possess*;
        incorporat*""",
    "Content-Container": """contain*; inside; full of; filled with; fill*; stored; store; hidden in; enclos*; locked
        in; sealed in; kept in; packed; packaged; hold*; held; include*; included; within; carried in; placed in;
        put in; wrapped in; box* in; trapped in""",
    "Entity-Destination": """into; moved to; mov* to; sent to; deliver*; migrat*; put; puts; placed; placing; added
        to; arriv*; import*; shipped; shipping; export*; dropped; dropping; travel*; journey*; releas*; pour*;
        spread*; deposit*; donat*; bring* to; brought to; taken to; insert*; inject*; inside; towards; pushed;
        transfer*; smuggl*; relocat*; install*; enter*; went to; invested; return* to; came to; comes to; come to""",
    "Entity-Origin": """from; deriv*; origin*; distill*; descend*; native to; native of; source of; sources of; made
        of; made out of; born in; hail*; emerg*; depart*; left; leave*; farmed; extract*; root* in; ancestor*;
        manufactured in; came out; come out; comes out; out of""",
    "Instrument-Agency": """use*; using; appli*; apply*; employ*; wield*; by means of; with the help of; with the aid
        of; help of; aid of; utiliz*; utilis*; operat*; manipulat*; play*; handl*; through the use of; tool*;
        instrument*; equipment""",
    "Member-Collection": """member*; belong* to; join*; part of; consist* of; compris*; includ*; compos* of; made up
        of; contain*; collect*; group of; among; gather*; affiliat*; enrol*; recruit*""",
    "Message-Topic": """about; topic*; subject*; theme*; discuss*; describ*; describes; on the subject; concern*;
        devoted to; dedicated to; reference to; refer* to; document*; explain*; examin*; explor*; address*; relat*
        to; regard*; reflect*; deal* with; dealt with; focus*; cover*; centered; centred; summar*; outlin*;
        detail*; report*; tell* of; tells; told; presents; presented; presenting; mention*; highlight*; analys*;
        analyz*; review*; recount*; argu*; point* out; pointed to; considers; considered; investigat*; relate*;
        talk* about; depict*; illustrat*; to do with""",
    "Product-Producer": """produc*; create*; creating; creation*; creator*; written; wrote; write*; built; build*;
        make*; made; making; manufactur*; develop*; invent*; design*; construct*; publish*; compos*; paint*;
        draw*; drawn; founded; founder*; complet*; issued; issues; issuing; generate*; output; assembl*; erect*;
        draft*; establish*; cook*; bake*; compil*; author*; pen; penned; dug; put up; forg*; craft*; formed;
        fabricat*; prepar*; releas*""",
    # SciERC.
    "USED-FOR": """use*; using; appli*; apply*; for the purpose; based on; employ*; utiliz*; solve*; by means of;
        support*; perform*; enable*; achiev*""",
    "FEATURE-OF": "feature*; propert*; characteri*; aspect*; attribut*",
    "PART-OF": """part of; parts of; component*; consist* of; contain*; includ*; compris*; compos* of; within;
        incorporat*""",
    "CONJUNCTION": "and; or; as well as; together with; along with; both",
    "COMPARE": """compar*; than; versus; vs; outperform*; better; worse; contrast*; superior; instead of; rather
        than; unlike; against; similar to""",
    "EVALUATE-FOR": """evaluat*; measur*; test*; assess*; accura*; perform*; achiev*; improv*; result*; experiment*;
        benchmark*""",
    "HYPONYM-OF": """such as; is a; called; known as; kind of; type of; e g; including; a form of; namely; example*;
        is an""",
    # FewRel's PubMed relations.
    "biological_process_involves_gene_product": """regulat*; involv*; mediat*; role; requir*; induc*; promot*;
        modulat*; activat*; inhibit*; control*; depend* on""",
    "causative_agent_of": "caus*; due to; agent*; induc*; associated with; responsible for; infect*",
    "classified_as": "is a; classified; type of; types of; such as; form of; including; called; known as; subtype*",
    "gene_found_in_organism": "from; found in; isolat*; express*; encod*; present in; clon*",
    "gene_plays_role_in_process": """regulat*; involv*; mediat*; role; requir*; induc*; promot*; modulat*; activat*;
        inhibit*; control*; function*""",
    # Wikidata's properties: FewRel's (Wikipedia) and Re-DocRED's, and the samples' names for a few of them.
    "child": "son; sons; daughter*; child*; father*; mother*; parent*; heir",
    "competition class": "class; category; weight; division; championship*; compet*",
    "crosses": "cross*; span*; over; bridge*; across",
    "follows": "follow*; after; sequel*; preced*; succe*; previous; next; prior; before",
    "located in or next to body of water": "coast; shore*; island*; bank*; beside; along; lake; bay",
    "located on body of water": "coast; shore*; island*; bank*; beside; along; lake; bay",
    "member of": "member*; join*; belong*; part of; band; group; play*; left; formed",
    "military rank": "rank; promot*; appointed; served as; commission*",
    "mother": "mother; son; daughter*; child*; born to; gave birth",
    "original language of film or TV show": "language; film*; series; directed; spoken",
    "original language": "language; film*; series; written in; spoken",
    "part of": "part of; parts of; includ*; contain*; component*; belong*; member*; section; within; consist*",
    "part of series": "series; part of; book in; episode*; volume",
    "position played on team / speciality": "play*; position; former; retired",
    "spouse": "marri*; wife; husband; wed*; spouse; widow*; divorc*; engaged; consort",
    "voice type": "voice; sing*; sang; opera*; role*",
    "head of government": "prime minister; mayor; premier; chancellor; governor; head of; led; minister president",
    "country": "country; located in",
    "place of birth": "born; birth; native of; birthplace",
    "place of death": "died; death; killed; passed away; executed; buried",
    "father": "father; son; daughter*; child*; heir; born to",
    "country of citizenship": "citizen*; national*; born; politician; actor; actress; singer; player",
    "continent": "continent",
    "instance of": "is a; is an; was a; was an",
    "head of state": "president; king; queen; emperor; monarch; head of; reign*; ruled; ruler",
    "capital": "capital",
    "official language": "official; language*",
    "position held": "served as; elected; appointed; became; minister; position; office",
    "author": "written; wrote; author*; novel by; book by; writer; works",
    "member of sports team": "play*; joined; signed; team; club",
    "director": "direct*; film by",
    "screenwriter": "written; wrote; screenplay; screenwriter; co wrote; writer",
    "educated at": "educat*; attend*; studied; study; graduat*; degree; student; school*; enrolled; alumn*",
    "composer": "compos*; music by; score; scored; wrote; written",
    "member of political party": "party; member*; politician; joined; elected",
    "employer": "work*; employ*; taught; teach*; professor; joined; staff; hired",
    "founded by": "found*; established; started; create*; creating; formed",
    "league": "league; play*; compet*; division; club",
    "publisher": "publish*; released by; issued",
    "owned by": "own*; acquired; bought; belong*; subsidiary",
    "located in the administrative territorial entity": """located; situated; town; city; village; municipality;
        county; district; province""",
    "genre": "genre; style; is a; novel; film; album; song",
    "operator": "operat*; run by; managed; airline",
    "religion": "religio*; church; catholic; convert*; bishop; faith",
    "contains administrative territorial entity": "contain*; divided; includ*; consist*; compris*; county; district",
    "followed by": "follow*; after; sequel*; preced*; succe*; next; before; then",
    "headquarters location": "headquarter*; based in; head office; offices in",
    "cast member": "star*; cast; play*; actor; actress; featur*; appear*; role",
    "producer": "produc*",
    "award received": "award*; won; win*; prize*; receiv*; honour*; honor*; medal",
    "creator": "create*; creating; design*; develop*; invent*; paint*; made by; written",
    "parent taxon": "species; genus; family; belong*; taxon; subspecies",
    "ethnic group": "ethnic*; people*; descent; origin*; population",
    "performer": "perform*; record*; sang; sung; single by; album by; song by; artist; singer",
    "manufacturer": "manufactur*; made by; built by; produc*; maker",
    "developer": "develop*; create*; creating; design*; made by",
    "series": "series; part of; episode*; instalment; installment; franchise; season",
    "sister city": "sister; twin*; partner*",
    "legislative body": "parliament; legislat*; assembly; congress; senate; council; elected; elections",
    "basin country": "flow*; river*; basin; lake",
    "military branch": "served; army; navy; air force; corps; military; enlisted; joined; commission*",
    "record label": "label; released; records; record*; signed",
    "production company": "produc*; studio*; made by; company",
    "location": "located; held; situated; took place",
    "subclass of": "is a; type of; kind of; form of; class of; subclass",
    "subsidiary": "subsidiar*; own*; division; unit of; acquired; parent; part of",
    "original language of work": "language; written in; translated",
    "platform": "platform; released; console; port*",
    "mouth of the watercourse": "flow*; mouth; tributary; empt*; join*; drain*; into; river",
    "original network": "aired; broadcast*; network; channel; premier*; shown; television",
    "chairperson": "chair*; president; led; leader; head of; head; secretary",
    "country of origin": "from; made in; film; television; series; band; origin*",
    "has part": "includ*; contain*; consist*; compris*; part*; member*; compos*; featur*",
    "residence": "liv*; resid*; home; moved; settled; stayed",
    "date of birth": "born; birth",
    "date of death": "died; death; killed; executed; born",
    "inception": "found*; established; create*; creating; formed; built; open*; started; began; incorporated; since",
    "dissolved, abolished or demolished": """dissol*; abolish*; demolish*; closed; disband*; ended; ceased; defunct;
        until; destroyed""",
    "publication date": "publish*; releas*; issued; premier*; aired; appeared",
    "start time": "began; start*; from; since; open*; between",
    "end time": "ended; end*; until; finish*; closed; till",
    "point in time": "held; took place; during; dated",
    "conflict": "war; battle; fought; served; conflict; during; campaign",
    "characters": "character*; role; played; portray*; protagonist; featur*; story",
    "lyrics by": "lyric*; written; wrote; words by",
    "located on terrain feature": "located; island; mountain*; valley; situated; peninsula",
    "participant": "participa*; between; fought; compet*; contest*; against; played; took part; led",
    "influenced by": "influenc*; inspir*; based on; admir*",
    "location of formation": "formed; form*; founded; established; from; based in; create*; creating",
    "parent organization": "parent; subsidiary; division; part of; own*; belong*; unit",
    "notable work": """wrote; written; author*; works; known for; direct*; compos*; create*; creating; novel*;
        album*; film*""",
    "separated from": "separat*; split*; broke away; divided; independen*",
    "narrative location": "set in; takes place; story; setting",
    "work location": "work*; based in; active; practis*; taught",
    "applies to jurisdiction": "law*; constitution; federal; applies; government",
    "product or material produced": "produc*; manufactur*; mak*; develop*; build*; sell*",
    "unemployment rate": "unemploy*",
    "territory claimed by": "claim*; disput*",
    "participant of": "participa*; took part; compet*; play*; fought; serv*; represent*; won; join*; during",
    "replaces": "replac*; success*; succeed*; predecessor; former*",
    "replaced by": "replac*; success*; succeed*; became; merged",
    "capital of": "capital",
    "languages spoken, written or signed": "speak*; spoke*; language*; written in; wrote in",
    "present in work": "character*; appear*; featur*; role; play*; star*",
    "sibling": "brother*; sister*; sibling*; twin*",
    # TACRED and Re-TACRED.
    "org:alternate_names": "known as; called; formerly; renamed; abbreviat*",
    "org:city_of_headquarters": "based; headquarter*; located; office*",
    "org:country_of_headquarters": "based; headquarter*; located; office*",
    "org:stateorprovince_of_headquarters": "based; headquarter*; located; office*",
    "org:city_of_branch": "based; headquarter*; located; office*; branch*",
    "org:country_of_branch": "based; headquarter*; located; office*; branch*",
    "org:stateorprovince_of_branch": "based; headquarter*; located; office*; branch*",
    "org:dissolved": "dissol*; closed; bankrupt*; disband*; ceased; shut",
    "org:founded": "found*; established; create*; creating; formed; started; since; set up; launched",
    "org:founded_by": "found*; established; create*; creating; started; set up; launched; co founded",
    "org:member_of": "member*; join*; belong*; part of; affiliat*",
    "org:members": "member*; join*; belong*; includ*; part of; affiliat*",
    "org:number_of_employees/members": "employ*; member*; staff; worker*; people; strong",
    "org:parents": "subsidiary; unit of; division; own*; parent; part of; arm of; acquired",
    "org:political/religious_affiliation": "party; religio*; church; affiliat*; islam*; christian; jewish; catholic",
    "org:shareholders": "shareholder*; stake; own*; share*; invest*; bought",
    "org:subsidiaries": "subsidiar*; unit; division; own*; parent; acquired; part of",
    "org:top_members/employees": """president; chief; chair*; director; executive; head; leader; ceo; manager;
        secretary; led; commander; founder; minister; spokes*""",
    "org:website": "website; web; site; www; online; http",
    "per:age": "age*; year*; old; turned",
    "per:alternate_names": "known as; called; alias; nickname*; born; real name",
    "per:identity": "known as; called; alias; nickname*; born; himself; herself",
    "per:cause_of_death": "died; death; killed; dies; suicide; battle with; cancer; succumb*",
    "per:charges": "charg*; accus*; convict*; indict*; guilty; sentenc*; arrest*; alleg*; trial",
    "per:children": "son; sons; daughter*; child*; father*; mother*; parent*; born to; survivors",
    "per:cities_of_residence": "liv*; resid*; home; moved; settled; grew up",
    "per:countries_of_residence": "liv*; resid*; home; moved; settled; grew up",
    "per:stateorprovinces_of_residence": "liv*; resid*; home; moved; settled; grew up",
    "per:city_of_birth": "born; birth; native; birthplace",
    "per:country_of_birth": "born; birth; native; birthplace",
    "per:stateorprovince_of_birth": "born; birth; native; birthplace",
    "per:date_of_birth": "born; birth*",
    "per:city_of_death": "died; death; killed; dies; dead; passed away",
    "per:country_of_death": "died; death; killed; dies; dead; passed away",
    "per:stateorprovince_of_death": "died; death; killed; dies; dead; passed away",
    "per:date_of_death": "died; death; killed; dies; dead; passed away",
    "per:employee_of": "work*; employ*; join*; hired; executive; director; professor; officer; minister",
    "per:origin": "born; origin*; native; citizen*; national*; descent; immigrant*",
    "per:other_family": "uncle; aunt; cousin*; nephew*; niece*; grand*; in law; famil*; relative*",
    "per:parents": "son; daughter*; child*; father*; mother*; parent*; born to",
    "per:religion": "religio*; catholic; muslim; jewish; christian; convert*; faith; church; buddhist",
    "per:schools_attended": "educat*; attend*; studied; study; graduat*; degree; student; school*; enrolled; alumn*",
    "per:siblings": "brother*; sister*; sibling*; twin*",
    "per:spouse": "marri*; wife; husband; wed*; spouse; widow*; divorc*; partner",
    "per:title": "president; minister; chief; director; was a; is a; chair*; served; former",
}  # fmt: skip

CUES: dict[str, tuple[str, ...]] = {
    relation: tuple(" ".join(cue.split()) for cue in cues.split(";")) for relation, cues in _LISTS.items()
}
"""Cues by relation: a label without its direction."""

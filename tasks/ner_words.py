"""Words that are no names of people although they have a capital or stand where names do; words for groups."""

from __future__ import annotations

WORDS = """
a about above according account accountant accounts actually additionally address admin after again agent all almost
already also although always am amazon amex an and android another any anybody anyone anything apologies app
apparently apple approximately apps april are as ask asked assistant at atm atms attached attention august author
back balance bank basically because been before being besides best better between big bill billing bills bin body
bot both branch brand broken bursary but buy buyer by bye call called can cancel cancelled cannot cant card cards
cash cashier change charge charged check cheers cheque chrome city clearly client close code comment company contact
correct could counter country courier currency currently customer date day days dear debit december delete delivered
delivery department deposit deposits description details did didn't direct disaster do does doesn't doing dollar
dollars don't done double driver due during each earlier either else email employee employer english enough euro
euros even ever every everyone everything example exchange excuse explain facebook fax february fee fees few file
finally fine firefox first firstly fix following for forgot found freeze friday friend from full fund funds
furthermore general get getting give given glad go going good google got great guess guide had happy has have
haven't having he hello help hence her here hers hey hi him his hold home honestly hope hotel how however hr human i
i'd i'll i'm i've if im immediately in inform information instagram instead insurance interestingly internet into
invoice iphone is isn't it it's item its january july june just keep kind kindly know landlord last lastly lately
later least less let let's licence license like line linux list live loan loans location long look looking looks
lorry lost lot love maestro mail make making manager many march mastercard max maybe me mean merchant message
microsoft might min mine miss missing mobile monday money month more moreover morning mortgage most move much must
my name need needed needs netflix never new next night no nobody none nor normally not note nothing november now
number obviously october of off offer office often oh ok okay old on once one online only open operator or order
ordered organization other otherwise our out over overall own owner page paid part passcode passport password pay
paying payment payments paypal pending people perhaps person phone pin place please pls possible post postman pound
pounds pretty price problem product purchase question quick quite rather really reason receipt receipts received
recently reference refund regarding regards region register reply report request right ruble salary same saturday
saver savings saw say says secondly see seems sell seller send sender sent september service she shipping shop
should show shown similarly since sir so some somebody somehow someone something sometimes somewhere soon sorry
speaker specifically staff standing state statement status still stop store street stuff subject such suddenly
sunday support sure switch system take talk team telephone tell teller tenant text than thank thanks that that's the
their them then there there's therefore these they they're thing things think this those though thought three
through thursday thus till time title to today together tomorrow too top total town transaction transactions
transfer transfers tried try trying tuesday turn two type uber unable under unfortunately unknown unless unlike
until up update upon urgent url us use used user username using usually verbally verify version very view visa visit
wait waiting want was wasn't water way we we'd we'll we're we've web website wednesday week weird well went were
what what's whatever whats whatsapp when where where's whether which while who who's whole whom whose why why's will
windows with withdrawal withdrawals within without won't wondering work works world would wouldn't write writing
wrong year years yen yes yesterday yet yikes you you'd you'll you're you've your yours youtube yuan zip
"""
ORDINARY = frozenset(WORDS.split())

GROUP_WORDS = """
Afghan African Albanian Algerian American Argentine Argentinian Armenian Asian Australian Austrian Azerbaijani
Bangladeshi Belarusian Belgian Bolivian Bosnian Brazilian British Bulgarian Cambodian Canadian Chilean Chinese
Colombian Croatian Cuban Cypriot Czech Danish Dutch Egyptian Emirati Estonian Ethiopian Filipino
Finnish French Georgian German Ghanaian Greek Greenlandic Guatemalan Hungarian Icelandic Indian Indonesian Iranian
Iraqi Irish Israeli Italian Jamaican Japanese Jordanian Kazakh Kenyan Korean Kurdish Kuwaiti Latvian Lebanese Libyan
Lithuanian Malaysian Maltese Mexican Moldovan Mongolian Moroccan Nepalese Nepali Nigerian Norwegian Pakistani
Palestinian Peruvian Polish Portuguese Romanian Russian Saudi Scottish Senegalese Serbian Singaporean Slovak
Slovakian Slovenian Somali Spanish Sudanese Swedish Swiss Syrian Taiwanese Thai Tibetan Tunisian Turkish Ugandan
Ukrainian Uruguayan Venezuelan Vietnamese Welsh Yemeni Zimbabwean Buddhist Catholic Christian Conservative Democrat
Hindu Jewish Muslim Orthodox Protestant Republican Sikh Sunni Shia
"""
GROUPS = tuple(GROUP_WORDS.split())  # nationalities, religions, parties

// The words and the rules of the built-in corpus.
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/corpus.h"
#include "data/grammar.h"

namespace glint {
namespace {

// The plural of a noun, the third person of a verb.
std::string with_s(const std::string& word) {
  if (word.ends_with("s") || word.ends_with("x") || word.ends_with("sh") || word.ends_with("ch")) return word + "es";
  const bool vowel_before_last = std::string_view("aeiou").find(word[word.size() - 2]) != std::string_view::npos;
  if (word.ends_with("y") && !vowel_before_last) return word.substr(0, word.size() - 1) + "ies";
  return word + "s";
}

// clang-format off
Grammar make_grammar() {
  Grammar grammar;
  // Adds the words of a text unchanged, with an -s form, or with pronouns (the first half are women).
  const auto add = [&](const char* name, const std::vector<std::string>& forms, const char* text) {
    std::istringstream stream(text);
    const std::vector<std::string> words(std::istream_iterator<std::string>(stream), {});
    Grammar::Alternatives list;
    for (const std::string& word : words) {
      const bool woman = list.size() < words.size() / 2;
      std::vector<std::string> all{word, forms.size() == 2 ? with_s(word) : woman ? "she" : "he", woman ? "She" : "He"};
      all.resize(forms.size());
      list.emplace_back(1, all);
    }
    grammar.add(name, forms, list);
  };
  add("name", {"name", "she", "She"},
    "Ada Alice Amy Anna Bella Beth Mary Maya Mia Molly Sally Sara Sofia Tara Tess Tina Adam Alan Abel Ben Bob Bruno "
    "Hans Hugo Mark Max Sam Simon Ted Tim Toby Tom");
  add("agent", {"one", "many"},
    "ant ape bat bear bee boar bug bull camel cat chef clerk clown colt cook cow crab crow cub dog dove duck duke "
    "eel fawn flea fly fox frog ghost giant gnat gnome goat guard hare hawk hen heron hog horse host imp judge kid "
    "king lad lamb lark lass lion lord maid mare miner mink miser mole monk moth mule newt nun nurse otter owl page "
    "pig pilot poet pony prince pup quail queen rat raven robin rook scout seal seer shark shrew skunk slug smith "
    "snail snake spider spy squid squire stag stork swan tiger toad tutor twin uncle vet viper vole wasp whale witch "
    "worm wren yak");
  add("thing", {"one", "many"},
    "axe badge bag ball band bead beam bean bed beet bell belt bib bike bin boat bolt bone book boot bow bowl box "
    "brick broom brush bun cage cake can cane cap cape card cart chain chair chart chest clip clock coat coin comb "
    "cone cord cork cot crate crib crown cube cup dart desk dial dish disk doll dress drill drum egg fan fig file "
    "flag flask flute fork frame fuse gem glass globe glove gong gown grape ham harp hat helm hinge hook hoop horn "
    "hose jar jewel jug keg key kilt kite knob knot lamp lance latch lens lid lock log loom lute lyre map mask mast "
    "mat melon mirror mitt mop mug nail needle nest net nut oar onion oven pad pail pan peach pear pearl peg pen pie "
    "pin pipe plank plate plow plug plum pot pouch pump purse quill quilt rack raft rake ramp ring robe rod rope "
    "rose ruby rug sack sail sash saw shawl shell shirt shoe sieve skirt sled sling snare sock spade spear spoon "
    "spur stamp stick stone stool stove strap sword table tack tent tile tool torch towel toy tray trunk tub tube "
    "urn vase veil vest vial violin wagon wand watch wheel whip wick wig wire");
  add("look", {"word"},
    "bad bare bent big black bleak blue bright brown burnt cheap clean cold cool crude damp dark dim dirty drab dry "
    "dull dusty faded fake fancy fine flat foul frail fresh good gray green hard heavy hot huge large light little "
    "long loose lost low moist muddy neat new nice pale pink plain pure purple rare red rigid ripe rough round royal "
    "rusty safe sharp shiny short silky slick slim small smooth soft solid sour spare square stale sticky stiff "
    "strange sturdy sweet tall tan tart thick thin tiny torn tough vast vivid warm weak wet white whole wide wooden "
    "worn yellow");
  add("mood", {"word"},
    "bold brave busy calm clever coy cruel dizzy drowsy fierce fit fond fussy gentle glad grim gruff grumpy happy "
    "harsh hasty honest hungry jolly keen kind lazy lean lonely loud loyal lucky mad mean meek merry mild modest "
    "moody noble noisy nosy plump polite poor posh prim proud quick quiet rash rich rude sad shy silly sleepy slow "
    "sly smart smug spry stern stout tame tense thirsty tidy tired vain wary weary wild wise witty wry young zany");
  add("deed", {"word"},
    "bent bought broke brought built buried burned caught cleaned cut drew dried dropped dug dyed filled fixed found "
    "got held hid hit kept kicked lost loved made marked missed moved needed owned packed polished pulled pushed "
    "raised rolled rubbed sank saved saw sent sewed shook shut sold split spun stole swung threw tied took tore "
    "tried used wanted washed wiped won wore wove");
  add("act", {"many", "one"},
    "bark bask bathe beg blink blush boast bow climb cough crawl cry dance dash dig dive doze draw dream drift drink "
    "eat fall fish flee float frown gasp giggle grin groan grow grunt hide hike hop howl hum hunt hurry jog joke "
    "jump kneel knit laugh leap limp march moan nap nod paint pant pause play pout pray prowl rest ride rise roam "
    "row run rush sail shout sigh sing sit skate skip sleep slip smile smirk sneeze snore sob spin squeak stand "
    "stare stay stumble swim talk think trip trot wade wait wake walk wander wave weep whisper win wink work worry "
    "yawn yell yelp");
  add("likes", {"many", "one"},
    "admire aid amuse annoy bite blame bless bore bother bribe call catch chase cheer comfort court cure dodge dread "
    "envy fear feed fight find follow fool free greet guard guide hail hate haunt hear heed help hire hit hold hug "
    "invite irk join keep kick know lead like love lure meet miss mock nag need obey pat pay pity poke praise push "
    "quiz rob rule save scare scold see seek serve shun sue tame taunt teach tease thank trail trap trick trust tug "
    "urge visit warn watch woo");
  add("thanked", {"word"},
    "blamed calmed chased cheered followed greeted helped hugged joined met missed paid praised scolded teased "
    "thanked tricked trusted visited watched");
  add("place", {"word"},
    "alley arch arena attic bank barn bay beach bog bridge brook cabin camp castle cave church city cliff creek dam "
    "den dock dune farm fence field ford forest fort garden gate glen grove gulf hall hedge hill hotel hut inn isle "
    "jail kiln lake lane lodge manor market marsh meadow mill mine moat moor mound palace park path peak pier pit "
    "plaza pond pool port quay reef ridge river road rock ruin school shed shop shore shrine spa stable stall store "
    "swamp temple tomb tower town vale wall well wharf wood yard zoo");
  add("near", {"word"}, "above around behind below beside by inside near past under");
  add("number", {"word"}, "eight fifty five forty four nine seven six sixty ten three two");
  add("hour", {"word"}, "dawn dusk midnight night noon sunrise sunset teatime");
  add("This", {"word"}, "Her His My That This");
  add("These", {"word"}, "All Both Many Most Seven Six Some Ten These Those Three Twelve Two");

  const auto rule = [&](const char* name, const std::vector<std::pair<uint32_t, const char*>>& alternatives) {
    Grammar::Alternatives patterns;
    for (const auto& [weight, pattern] : alternatives) patterns.push_back({weight, {pattern}});
    grammar.add(name, {"pattern"}, patterns);
  };
  rule("the", {{4, "the"}, {1, "his"}, {1, "her"}, {1, "my"}, {1, "our"}, {1, "this"}, {1, "that"}});
  rule("end", {{5, ".\n"}, {4, " {near} {the} {place}.\n"}, {1, " at {hour}.\n"}});
  // Someone does something to a thing; later text refers to both again.
  rule("it", {{1, "it"}, {1, "the {same thing}"}});
  rule("the_thing", {{1, "{new thing}"}, {3, "{look} {new thing}"}});
  rule("object", {{3, "{the} {the_thing}"}, {2, "a {look} {new thing}"}});
  rule("the_agent", {{1, "{new agent}"}, {2, "{mood} {new agent}"}});
  rule("clause", {{4, "and {same name.she} {deed} {it}{end}"}, {4, "but {the} {the_agent} {deed} {it}{end}"},
    {1, "so {same name.she} was {mood}{end}"}});
  rule("next", {{3, "\n"}, {3, " {same name.She} {deed} {it}{end}"},
    {2, " Then {the} {the_agent} {deed} it, and {same name} {thanked} the {same agent}{end}"},
    {1, " The {same thing} was {look}, but {same name} was {mood}.\n"}});
  rule("more", {{3, ".{next}"}, {2, ", {clause}"}});
  rule("deed_of_name", {{1, "{more}"}, {1, " {near} {the} {place}{more}"}});
  // Lists.
  rule("things", {{2, "{number} {look} {thing.many}"}, {1, "{look} {thing.many}"}, {1, "a {look} {thing}"}});
  rule("more_things", {{2, " and {things}{end}"}, {1, ", {things}, and {things}{end}"}});
  // Questions: the answer repeats what was asked for; the sentence after it repeats who asked and who answered.
  rule("after", {{2, "\n"}, {1, " So {same name} {thanked} the {same agent}{end}"},
    {1, " Then {same name} and the {same agent} {deed} the {same thing}{end}"}});
  rule("where", {{3, "The {same thing} is {near} {the} {place},\" said {the} {the_agent}.{after}"},
    {1, "Ask {the} {mood} {agent},\" said {the} {the_agent}.{after}"}});
  rule("question", {{1, "Where is {the} {the_thing}?\" asked {new name}. \"{where}"},
    {1, "Who {new deed} {the} {the_thing}?\" asked {new name}. "
        "\"The {mood} {agent} {same deed} the {same thing},\" said {the} {the_agent}.{after}"}});
  // Agreement of a verb with a subject that may be far away, over nouns of either number.
  rule("agent_and_verb", {{1, "{agent.one} {likes.one}"}, {1, "{agent.many} {likes.many}"}});
  rule("any_agent", {{1, "{agent.one}"}, {1, "{agent.many}"}, {2, "{mood} {agent.one}"}});
  rule("end_one", {{4, "{end}"}, {1, ", and it {act.one}{end}"}});
  rule("end_many", {{4, "{end}"}, {1, ", and they {act.many}{end}"}});
  rule("verb_one", {{1, "{act.one}{end_one}"}, {1, "{likes.one} the {any_agent}{end_one}"}});
  rule("verb_many", {{1, "{act.many}{end_many}"}, {1, "{likes.many} the {any_agent}{end_many}"}});
  rule("that_one", {{2, "the {agent_and_verb}"}, {1, "{name} {likes.one}"}, {2, "{likes.one} the {any_agent}"}});
  rule("that_many", {{2, "the {agent_and_verb}"}, {1, "{name} {likes.one}"}, {2, "{likes.many} the {any_agent}"}});
  rule("one", {{3, "{verb_one}"}, {2, "{near} {the} {place} {verb_one}"}, {3, "that {that_one} {verb_one}"}});
  rule("many", {{3, "{verb_many}"}, {2, "{near} {the} {place} {verb_many}"}, {3, "that {that_many} {verb_many}"}});
  rule("one_or_many", {{1, "{agent.one} {one}"}, {1, "{agent.many} {many}"}});
  rule("subject", {{2, "{one_or_many}"}, {3, "{mood} {one_or_many}"}});
  rule("subject_one", {{2, "{agent.one} {one}"}, {3, "{mood} {agent.one} {one}"}});
  rule("subject_many", {{2, "{agent.many} {many}"}, {3, "{mood} {agent.many} {many}"}});
  rule("by_name", {{6, "{deed} {object}{deed_of_name}"}, {1, "and {name} {deed} {things}{more_things}"},
    {2, "has {things}{more_things}"}});
  rule("tale", {{10, "{new name} {by_name}"}, {3, "\"{question}"}, {3, "The {subject}"}, {2, "{This} {subject_one}"},
    {3, "{These} {subject_many}"}});
  return grammar;
}
// clang-format on

}  // namespace

const Grammar& corpus_grammar() {
  static const Grammar grammar = make_grammar();
  return grammar;
}

}  // namespace glint
